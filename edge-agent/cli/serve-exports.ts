import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import path from 'node:path'
import process from 'node:process'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Command, InvalidArgumentError } from 'commander'
import type { NbdAddress } from '../block/block-endpoint.ts'
import type { CallOptions } from '../block/block-source.ts'
import { formatNbdUri } from '../nbd/nbd-uri.ts'
import type { NbdExport } from '../nbd/server/nbd-export.ts'
import { NbdServer } from '../nbd/server/nbd-server.ts'
import type { NbdServerTls } from '../nbd/server/start-tls.ts'
import { NBD_DEFAULT_PORT } from '../nbd/wire/nbd-constants.ts'

/** As a shell names a program that Ctrl-C ended. */
export const EXIT_INTERRUPTED = 130

/** Where and to whom disks are served. */
export interface ServeAddressOptions {
  readonly unix?: string
  readonly tcp?: NbdAddress
  readonly tlsKey?: string
  readonly tlsCertificate?: string
  readonly tlsClientCa?: string
  readonly connectionsMax: number
  readonly json?: boolean
}

/** An address that is as safe as it must be. */
export interface ServeAddress {
  readonly addresses: readonly NbdAddress[]
  readonly tls: NbdServerTls
}

/** Adds the options of ServeAddressOptions. */
export function addServeOptions(command: Command): Command {
  return command
    .option('--unix <path>', 'listen on a unix socket, which only this user may use')
    .option('--tcp <[host:]port>', 'listen on TCP; host is 127.0.0.1 unless given', parseTcp)
    .option('--tls-key <file>', 'key of the certificate, PEM')
    .option('--tls-certificate <file>', 'insist on TLS, with this certificate and its intermediates, PEM')
    .option('--tls-client-ca <file>', 'only let in clients with a certificate that this authority signed, PEM')
    .option('--connections-max <count>', 'turn further clients away', parseConnections, 64)
    .option('--json', 'print JSON lines')
}

/** Rejects with `input.invalid` where there is no address, one that is not guarded, or TLS that is not complete. */
export async function readServeAddress(options: ServeAddressOptions): Promise<ServeAddress> {
  const addresses = addressesOf(options)
  const tls = await readTls(options)
  for (const address of addresses) expectGuarded(address, tls)
  return { addresses, tls }
}

/** Serves the exports, read-only, until the signal aborts; then requests under way are finished. */
export async function serveExports(
  exports: readonly NbdExport[],
  { addresses, tls }: ServeAddress,
  { signal: stop, ...options }: ServeAddressOptions & CallOptions,
): Promise<void> {
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
  for (const one of exports) server.addExport(one)
  for (const { name, source, description = '' } of exports) {
    const facts = { event: 'export', name, sizeBytes: source.sizeBytes, description }
    say(options, facts, `${name}  ${formatByteSize(source.sizeBytes)}  ${description}`)
  }
  for (const address of addresses) {
    const real = await server.listen(address)
    for (const { name } of exports) {
      const secured = tls === 'off' ? {} : { tls: { caPem: tls.certificate } }
      const uri = formatNbdUri({ kind: 'nbd', address: real, exportName: name, ...secured })
      say(options, { event: 'serving', name, uri }, `serving ${uri}`)
    }
  }
  if (!stop.aborted)
    await new Promise<void>((resolve) => stop.addEventListener('abort', () => resolve(), { once: true }))
  say(options, { event: 'stopping' }, 'stopping: requests under way are finished')
}

function addressesOf({ unix, tcp }: ServeAddressOptions): NbdAddress[] {
  const addresses: NbdAddress[] = []
  if (unix !== undefined) addresses.push({ transport: 'unix', path: path.resolve(unix) })
  if (tcp !== undefined) addresses.push(tcp)
  if (addresses.length === 0) throw wrongUse('serve needs --unix, --tcp or both')
  return addresses
}

async function readTls({ tlsKey, tlsCertificate, tlsClientCa }: ServeAddressOptions): Promise<NbdServerTls> {
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
export function stopSignal(): AbortSignal {
  const control = new AbortController()
  const onSignal = (): void => {
    if (control.signal.aborted) process.exit(EXIT_INTERRUPTED)
    control.abort(new PlatformError('internal.cancelled', 'stopped by a signal'))
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  return control.signal
}

function say({ json }: ServeAddressOptions, facts: object, sentence: string): void {
  process.stdout.write(`${json === true ? JSON.stringify(facts) : sentence}\n`)
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
  return new PlatformError('input.invalid', `${text}; see --help`)
}
