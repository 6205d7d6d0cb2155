import process from 'node:process'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Command, InvalidArgumentError } from 'commander'
import type { NbdEndpoint } from '../block/block-endpoint.ts'
import { describeNbdExport, listNbdExports, type NbdExport, type NbdServerFacts } from '../nbd/client/nbd-exports.ts'
import { formatNbdUri, parseNbdUri } from '../nbd/nbd-uri.ts'
import { readTlsDirectory } from '../nbd/tls-directory.ts'
import { namesOfFlags } from '../nbd/wire/transmission-flags.ts'

const TIMEOUT_SECONDS_DEFAULT = 15

interface NbdOptions {
  readonly json?: boolean
  readonly tlsCertificates?: string
  readonly timeout: number
}

const URI_HELP = `
A URI is one of
  nbd://HOST[:PORT]/EXPORT                an export over TCP; the port is 10809 if not given
  nbds://HOST[:PORT]/EXPORT               the same, encrypted; needs --tls-certificates
  nbd+unix:///EXPORT?socket=PATH          an export over a unix socket
  nbds+unix:///EXPORT?socket=PATH         the same, encrypted; needs --tls-certificates
The server of an encrypted connection is always checked: its certificate must be signed by the authority of
DIR/ca-cert.pem and be for HOST (localhost over a unix socket), or for NAME with ?tls-hostname=NAME.

Ends with 0, or with 1 and the reason on standard error.`

/** Adds `nbd list` and `nbd info`: what an NBD server has, asked without opening anything. */
export function registerNbdCommands(program: Command): void {
  const nbd = program.command('nbd').description('what an NBD server exports')
  onServer(nbd.command('list <uri>'))
    .description('list the exports of a server; the export in the URI is not looked at')
    .addHelpText('after', '\nExample:\n  sendense-edge nbd list nbd://storage.example')
    .action(listExports)
  onServer(nbd.command('info <uri>'))
    .description('describe one export: size, abilities, block sizes, meta contexts')
    .addHelpText('after', '\nExample:\n  sendense-edge nbd info "nbd+unix:///disk?socket=/run/nbd.sock" --json')
    .action(showExport)
}

function onServer(command: Command): Command {
  return command
    .option('--json', 'print JSON')
    .option('--tls-certificates <dir>', 'folder with ca-cert.pem, and client-cert.pem and client-key.pem if asked for')
    .option('--timeout <seconds>', 'how long to wait at most', parseSeconds, TIMEOUT_SECONDS_DEFAULT)
    .addHelpText('after', URI_HELP)
}

async function listExports(uri: string, options: NbdOptions): Promise<void> {
  const endpoint = await parseEndpoint(uri, options)
  const server = await listNbdExports(endpoint.address, callOptions(endpoint, options))
  const exports = server.exports.map((one) => toOutput(endpoint, one))
  if (options.json === true) print(JSON.stringify({ ...serverOutput(server), exports }, null, 2))
  else print([describeServer(server), ...server.exports.map((one) => describe(endpoint, one))].join('\n'))
}

async function showExport(uri: string, options: NbdOptions): Promise<void> {
  const endpoint = await parseEndpoint(uri, options)
  const found = await describeNbdExport(endpoint.address, endpoint.exportName, callOptions(endpoint, options))
  if (options.json === true) print(JSON.stringify({ ...serverOutput(found), ...toOutput(endpoint, found) }, null, 2))
  else print([describeServer(found), describe(endpoint, found)].join('\n'))
}

async function parseEndpoint(uri: string, { tlsCertificates }: NbdOptions): Promise<NbdEndpoint> {
  return parseNbdUri(uri, tlsCertificates === undefined ? {} : { tls: await readTlsDirectory(tlsCertificates) })
}

/** Ctrl-C ends the wait. */
function callOptions({ tls }: NbdEndpoint, { timeout }: NbdOptions) {
  const control = new AbortController()
  process.once('SIGINT', () => control.abort(new PlatformError('internal.cancelled', 'cancelled')))
  return { tls, signal: control.signal, connectTimeoutMs: timeout * 1000 }
}

function serverOutput({ isSecure, replyStyle }: NbdServerFacts) {
  return { tls: isSecure, replies: replyStyle }
}

function describeServer({ isSecure, replyStyle }: NbdServerFacts): string {
  return `${isSecure ? 'over TLS' : 'not encrypted'}, ${replyStyle} replies`
}

function toOutput(endpoint: NbdEndpoint, { exportName, description, facts }: NbdExport) {
  const uri = formatNbdUri({ ...endpoint, exportName })
  if (facts === undefined) return { exportName, uri, description }
  const { sizeBytes, flags, blockSizes, contexts } = facts
  return { exportName, uri, description, sizeBytes, flags: namesOfFlags(flags), blockSizes, contexts }
}

function describe(endpoint: NbdEndpoint, { exportName, description, facts }: NbdExport): string {
  const lines = [`export "${exportName}"`, `  uri          ${formatNbdUri({ ...endpoint, exportName })}`]
  if (description !== '') lines.push(`  description  ${description}`)
  if (facts === undefined) return [...lines, '  the server says nothing more of it'].join('\n')
  const { sizeBytes, flags, blockSizes, contexts } = facts
  lines.push(`  size         ${sizeBytes} bytes (${formatByteSize(sizeBytes)})`)
  lines.push(`  can          ${namesOfFlags(flags).join(', ')}`)
  if (blockSizes !== undefined) {
    const { minimumBytes, preferredBytes, maximumBytes } = blockSizes
    lines.push(`  blocks       at least ${minimumBytes}, best ${preferredBytes}, at most ${maximumBytes} bytes`)
  }
  return [...lines, `  contexts     ${contexts.length === 0 ? 'none' : contexts.join(', ')}`].join('\n')
}

function parseSeconds(text: string): number {
  const seconds = Number(text)
  if (seconds > 0 && seconds <= 3600) return seconds
  throw new InvalidArgumentError('a number of seconds, at most 3600')
}

/** Names come from the server: nothing of them steers a terminal. */
function print(text: string): void {
  process.stdout.write(`${text.replaceAll(/[^\P{Cc}\n]/gu, '�')}\n`)
}
