import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import path from 'node:path'
import process from 'node:process'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Command, InvalidArgumentError } from 'commander'
import type { NbdAddress } from '../block/block-endpoint.ts'
import { readConfig } from '../config.ts'
import { formatNbdUri } from '../nbd/nbd-uri.ts'
import { NbdServer } from '../nbd/server/nbd-server.ts'
import type { NbdServerTls } from '../nbd/server/start-tls.ts'
import { NBD_DEFAULT_PORT } from '../nbd/wire/nbd-constants.ts'
import { SERVE_HELP } from './serve-help.ts'
import { openServedFile, openServedRestorePoint, type ServedDisks } from './served-disks.ts'

/** As a shell names a program that Ctrl-C ended. */
const EXIT_INTERRUPTED = 130

interface ServeOptions {
  readonly unix?: string
  readonly tcp?: NbdAddress
  readonly name?: string
  readonly restorePoint?: string
  readonly disk?: readonly string[]
  readonly tlsKey?: string
  readonly tlsCertificate?: string
  readonly tlsClientCa?: string
  readonly connectionsMax: number
  readonly json?: boolean
}

/** Adds `serve`: disks for whoever speaks NBD, read-only. */
export function registerServeCommand(program: Command): void {
  program
    .command('serve [file]')
    .summary('serve a raw file or a restore point over NBD, read-only')
    .description('Serves the disk in FILE, or the disks of a restore point, over NBD until it is stopped. Read-only.')
    .option('--restore-point <id>', 'serve the disks of this restore point, each under its id')
    .option('--disk <id>', 'of the restore point, only this disk; repeat for more', collect)
    .option('--name <name>', 'name of the export of FILE; default: the name of the file')
    .option('--unix <path>', 'listen on a unix socket, which only this user may use')
    .option('--tcp <[host:]port>', 'listen on TCP; host is 127.0.0.1 unless given', parseTcp)
    .option('--tls-key <file>', 'key of the certificate, PEM')
    .option('--tls-certificate <file>', 'insist on TLS, with this certificate and its intermediates, PEM')
    .option('--tls-client-ca <file>', 'only let in clients with a certificate that this authority signed, PEM')
    .option('--connections-max <count>', 'turn further clients away', parseConnections, 64)
    .option('--json', 'print JSON lines')
    .addHelpText('after', SERVE_HELP)
    .action(serve)
}

async function serve(file: string | undefined, options: ServeOptions): Promise<void> {
  const addresses = addressesOf(options)
  const tls = await readTls(options)
  for (const address of addresses) expectGuarded(address, tls)
  const stop = stopSignal()
  await using disks = await openDisks(file, options, stop)
  await using server = new NbdServer({
    tls,
    connectionsMax: options.connectionsMax,
    onClientError: (error) => {
      say(
        options,
        { event: 'client-error', code: error.code, message: error.message },
        `${error.code}: ${error.message}`,
      )
    },
  })
  for (const one of disks.exports) server.addExport(one)
  for (const { name, source, description = '' } of disks.exports) {
    const facts = { event: 'export', name, sizeBytes: source.sizeBytes, description }
    say(options, facts, `${name}  ${formatByteSize(source.sizeBytes)}  ${description}`)
  }
  for (const address of addresses) {
    const real = await server.listen(address)
    for (const { name } of disks.exports) {
      const secured = tls === 'off' ? {} : { tls: { caPem: tls.certificate } }
      const uri = formatNbdUri({ kind: 'nbd', address: real, exportName: name, ...secured })
      say(options, { event: 'serving', name, uri }, `serving ${uri}`)
    }
  }
  if (!stop.aborted)
    await new Promise<void>((resolve) => stop.addEventListener('abort', () => resolve(), { once: true }))
  say(options, { event: 'stopping' }, 'stopping: requests under way are finished')
}

async function openDisks(
  file: string | undefined,
  { name, restorePoint, disk }: ServeOptions,
  signal: AbortSignal,
): Promise<ServedDisks> {
  if ((file === undefined) === (restorePoint === undefined)) {
    throw wrongUse('serve needs either a FILE or --restore-point')
  }
  if (file !== undefined) {
    if (disk !== undefined) throw wrongUse('--disk chooses among the disks of --restore-point')
    return await openServedFile(file, { name, signal })
  }
  if (name !== undefined) throw wrongUse('--name is for a FILE; the disks of a restore point have their own')
  const restorePointId = restorePoint ?? ''
  return await openServedRestorePoint(readConfig(process.env), { restorePointId, diskIds: disk, signal })
}

function addressesOf({ unix, tcp }: ServeOptions): NbdAddress[] {
  const addresses: NbdAddress[] = []
  if (unix !== undefined) addresses.push({ transport: 'unix', path: path.resolve(unix) })
  if (tcp !== undefined) addresses.push(tcp)
  if (addresses.length === 0) throw wrongUse('serve needs --unix, --tcp or both')
  return addresses
}

async function readTls({ tlsKey, tlsCertificate, tlsClientCa }: ServeOptions): Promise<NbdServerTls> {
  if (tlsKey === undefined && tlsCertificate === undefined && tlsClientCa === undefined) return 'off'
  if (tlsKey === undefined || tlsCertificate === undefined) {
    throw wrongUse('TLS needs both --tls-key and --tls-certificate')
  }
  return {
    mode: 'required',
    key: await readPem(tlsKey),
    certificate: await readPem(tlsCertificate),
    ...(tlsClientCa === undefined ? {} : { clientCa: await readPem(tlsClientCa) }),
  }
}

async function readPem(file: string): Promise<string> {
  try {
    const text = await readFile(file, 'utf8')
    if (text.includes('-----BEGIN ')) return text
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new PlatformError('input.invalid', `cannot read ${file}: ${why}`, { cause: error })
  }
  throw new PlatformError('input.invalid', `${file} is not PEM`)
}

/** A restore point is all that a VM knows: it does not lie open to a network. */
function expectGuarded(address: NbdAddress, tls: NbdServerTls): void {
  const isLocal = address.transport === 'unix' || isLoopback(address.host)
  if (isLocal || (tls !== 'off' && tls.clientCa !== undefined)) return
  throw wrongUse('whoever reaches an address beyond 127.0.0.1 could read the disk: use TLS with --tls-client-ca there')
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

/** Aborts at the first Ctrl-C or SIGTERM; the second ends the process at once. */
function stopSignal(): AbortSignal {
  const control = new AbortController()
  const onSignal = (): void => {
    if (control.signal.aborted) process.exit(EXIT_INTERRUPTED)
    control.abort(new PlatformError('internal.cancelled', 'stopped by a signal'))
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  return control.signal
}

function say({ json }: ServeOptions, facts: object, sentence: string): void {
  process.stdout.write(`${json === true ? JSON.stringify(facts) : sentence}\n`)
}

function collect(text: string, before: readonly string[] = []): string[] {
  return [...before, text]
}

function parseTcp(text: string): NbdAddress {
  const [, bracketed, plain, portText = ''] = /^(?:(?:\[([^\]]+)\]|([^:[\]]+)):)?([0-9]*)$/.exec(text) ?? []
  const port = portText === '' ? NBD_DEFAULT_PORT : Number(portText)
  if (!/[0-9]$/.test(text) || port > 65_535) throw new InvalidArgumentError('write PORT, HOST:PORT or [ADDRESS]:PORT')
  return { transport: 'tcp', host: bracketed ?? plain ?? '127.0.0.1', port }
}

function parseConnections(text: string): number {
  const count = Number(text)
  if (Number.isInteger(count) && count >= 1 && count <= 1024) return count
  throw new InvalidArgumentError('a number from 1 to 1024')
}

function wrongUse(text: string): PlatformError {
  return new PlatformError('input.invalid', `${text}; see sendense-edge serve --help`)
}
