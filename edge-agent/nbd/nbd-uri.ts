import { isIPv6 } from 'node:net'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type NbdAddress, NbdEndpoint, type NbdTls } from '../block/block-endpoint.ts'
import { NBD_DEFAULT_PORT } from './wire/nbd-constants.ts'

/** RFC 3986, appendix B: scheme, authority, path, query, fragment. */
const URI_PARTS = /^([^:/?#]+):(?:\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?(#.*)?$/
/** An IPv6 address in brackets, or anything else without a colon; then a port, which may be empty. */
const HOST_AND_PORT = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::([0-9]*))?$/

interface Scheme {
  readonly transport: NbdAddress['transport']
  readonly isSecure: boolean
}

const schemes: Readonly<Record<string, Scheme>> = {
  'nbd': { transport: 'tcp', isSecure: false },
  'nbds': { transport: 'tcp', isSecure: true },
  'nbd+unix': { transport: 'unix', isSecure: false },
  'nbds+unix': { transport: 'unix', isSecure: true },
}

/** What a URI cannot carry. */
export interface NbdUriSecrets {
  /** Needed where the URI asks for TLS, and refused where it does not. Its `serverName` yields to the URI's. */
  readonly tls?: NbdTls | undefined
}

/**
 * The endpoint that an NBD URI names: `nbd://host[:port]/export`, `nbd+unix:///export?socket=path`, and `nbds://`,
 * `nbds+unix://` for the same over TLS (NBD project, uri.md). `nbd` is never encrypted here: an encryption that the
 * other side may turn off protects nobody.
 * @throws PlatformError `input.invalid` on anything else, parameters that nobody knows included
 */
export function parseNbdUri(uri: string, { tls }: NbdUriSecrets = {}): NbdEndpoint {
  const [, schemeName = '', authority, path = '', query = '', fragment] = URI_PARTS.exec(uri) ?? []
  const scheme = schemes[schemeName.toLowerCase()]
  if (scheme === undefined) {
    throw invalid(uri, `it must begin with one of ${Object.keys(schemes).join(', ')} and "://"`)
  }
  if (authority === undefined) throw invalid(uri, 'the scheme is followed by "://"')
  if (fragment !== undefined) throw invalid(uri, 'it has no part that begins with "#"')
  const parameters = parseQuery(uri, query)
  const address = parseAddress(uri, scheme, authority, parameters)
  const secured = parseTls(uri, scheme, parameters, tls)
  const [unknown] = parameters.keys()
  if (unknown !== undefined) throw invalid(uri, `there is no parameter "${unknown}"`)
  const exportName = decode(uri, path.replace(/^\//, ''))
  const endpoint = NbdEndpoint.safeParse({ kind: 'nbd', address, exportName, ...secured })
  if (endpoint.success) return endpoint.data
  const [issue] = endpoint.error.issues
  throw invalid(uri, `${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`, endpoint.error)
}

/** The URI of an endpoint. Certificates, contexts and settings are not part of it. */
export function formatNbdUri({ address, exportName, tls }: NbdEndpoint): string {
  const parameters: string[] = []
  if (address.transport === 'unix') parameters.push(`socket=${encode(address.path)}`)
  if (tls?.serverName !== undefined) parameters.push(`tls-hostname=${encode(tls.serverName)}`)
  const query = parameters.length === 0 ? '' : `?${parameters.join('&')}`
  const scheme = `nbd${tls === undefined ? '' : 's'}${address.transport === 'unix' ? '+unix' : ''}`
  return `${scheme}://${authorityOf(address)}/${encode(exportName)}${query}`
}

function authorityOf(address: NbdAddress): string {
  if (address.transport === 'unix') return ''
  const host = isIPv6(address.host) ? `[${address.host}]` : encodeURIComponent(address.host)
  return address.port === NBD_DEFAULT_PORT ? host : `${host}:${address.port}`
}

/** Takes `socket` from the parameters. */
function parseAddress(uri: string, { transport }: Scheme, authority: string, parameters: Map<string, string>): unknown {
  if (transport === 'unix') {
    const path = parameters.get('socket')
    parameters.delete('socket')
    if (authority !== '') throw invalid(uri, 'a unix socket has no host: write three slashes, and ?socket=PATH')
    if (path === undefined || path === '') throw invalid(uri, 'a unix socket is named by ?socket=PATH')
    return { transport, path }
  }
  if (authority.includes('@')) throw invalid(uri, 'users and passwords are not spoken here')
  const [whole, bracketed, name, port = ''] = HOST_AND_PORT.exec(authority) ?? []
  if (whole === undefined) throw invalid(uri, 'an IPv6 address is written in brackets, and a port is a number')
  if (bracketed !== undefined && !isIPv6(bracketed)) throw invalid(uri, `[${bracketed}] is no IPv6 address`)
  const host = bracketed ?? decode(uri, name ?? '')
  if (host === '') throw invalid(uri, 'the host is missing')
  return { transport, host, port: port === '' ? NBD_DEFAULT_PORT : Number(port) }
}

/** Takes `tls-…` from the parameters. */
function parseTls(
  uri: string,
  { isSecure }: Scheme,
  parameters: Map<string, string>,
  tls: NbdTls | undefined,
): { readonly tls?: NbdTls } {
  if (!isSecure) {
    if (tls !== undefined) throw invalid(uri, 'it asks for no encryption; write nbds instead of nbd')
    return {}
  }
  const [type, verify, serverName] = ['tls-type', 'tls-verify-peer', 'tls-hostname'].map((name) => {
    const value = parameters.get(name)
    parameters.delete(name)
    return value
  })
  if (type !== undefined && type !== 'x509') throw invalid(uri, `TLS of type "${type}" is not spoken here, only x509`)
  if (verify !== undefined && verify !== '1') throw invalid(uri, 'the server is always checked')
  if (tls === undefined) throw invalid(uri, 'TLS needs the certificate of the authority that signed the server’s')
  return { tls: { ...tls, ...(serverName === undefined ? {} : { serverName }) } }
}

/** Names and values between `&`, decoded. "+" is a plus (RFC 3986 knows no other meaning). */
function parseQuery(uri: string, query: string): Map<string, string> {
  const parameters = new Map<string, string>()
  for (const pair of query === '' ? [] : query.split('&')) {
    const [name = '', ...value] = pair.split('=')
    const key = decode(uri, name)
    if (parameters.has(key)) throw invalid(uri, `parameter "${key}" comes twice`)
    parameters.set(key, decode(uri, value.join('=')))
  }
  return parameters
}

function decode(uri: string, text: string): string {
  try {
    return decodeURIComponent(text)
  } catch (error) {
    throw invalid(uri, `"${text}" is wrongly encoded: after each % come two hexadecimal digits of UTF-8`, error)
  }
}

/** Percent-encoded, with slashes left readable, as paths and queries may have them. */
function encode(text: string): string {
  return encodeURIComponent(text).replaceAll('%2F', '/')
}

function invalid(uri: string, why: string, cause?: unknown): PlatformError {
  return new PlatformError('input.invalid', `"${uri}" is no NBD URI: ${why}`, { cause })
}
