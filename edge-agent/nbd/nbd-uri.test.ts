import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { NbdEndpoint } from '../block/block-endpoint.ts'
import { formatNbdUri, parseNbdUri } from './nbd-uri.ts'

const tls = { caPem: '-----BEGIN CERTIFICATE-----' }
const tcp = (host: string, port = 10_809) => ({ transport: 'tcp', host, port })
const unix = (path: string) => ({ transport: 'unix', path })

describe('NBD URI', () => {
  test.each([
    ['nbd://example.com/disk', tcp('example.com'), 'disk'],
    ['nbd://example.com/', tcp('example.com'), ''],
    ['nbd://example.com', tcp('example.com'), ''],
    ['nbd://example.com//disk', tcp('example.com'), '/disk'],
    ['nbd://example.com/hello%20world', tcp('example.com'), 'hello world'],
    ['nbd+unix:///disk?socket=sock', unix('sock'), 'disk'],
    ['nbd+unix:///?socket=%00/abstract', unix('\0/abstract'), ''],
    ['NBD://example.com:1234/a/b?', tcp('example.com', 1234), 'a/b'],
    ['nbd://example.com:/x', tcp('example.com'), 'x'],
    ['nbd://[::1]:99/x+y', tcp('::1', 99), 'x+y'],
    ['nbd://10.0.0.1/%E2%82%AC', tcp('10.0.0.1'), '€'],
    ['nbd+unix:///?socket=/run/a%26b', unix('/run/a&b'), ''],
  ])('%s', (uri, address, exportName) => {
    expect(parseNbdUri(uri)).toEqual({ kind: 'nbd', address, exportName })
  })

  test.each([
    ['nbds://example.com/disk', tcp('example.com'), {}],
    ['nbds://10.0.0.1/disk?tls-hostname=disk.example', tcp('10.0.0.1'), { serverName: 'disk.example' }],
    ['nbds+unix:///disk?socket=s&tls-type=x509&tls-verify-peer=1', unix('s'), {}],
  ])('%s is opened over TLS', (uri, address, own) => {
    const endpoint = { kind: 'nbd', address, exportName: 'disk', tls: { ...tls, ...own } }
    expect(parseNbdUri(uri, { tls })).toEqual(endpoint)
  })

  test.each([
    ['example.com/disk', 'it must begin with'],
    ['http://example.com/disk', 'it must begin with'],
    ['nbd+vsock:///disk', 'it must begin with'],
    ['nbd:example.com', '"://"'],
    ['nbd:///disk', 'the host is missing'],
    ['nbd://user@example.com/disk', 'users'],
    ['nbd://example.com:70000/disk', 'port'],
    ['nbd://example.com:1x/disk', 'port'],
    ['nbd://::1/disk', 'in brackets'],
    ['nbd://[example.com]/disk', 'no IPv6'],
    ['nbd://example.com/disk?socket=s', 'no parameter "socket"'],
    ['nbd://example.com/disk?x-new=1', 'no parameter "x-new"'],
    ['nbd://example.com/disk#part', '"#"'],
    ['nbd://example.com/%zz', 'wrongly encoded'],
    ['nbd://example.com/%ff', 'wrongly encoded'],
    ['nbd://example.com/%00', 'NUL'],
    ['nbd+unix:///disk', '?socket=PATH'],
    ['nbd+unix:///disk?socket=', '?socket=PATH'],
    ['nbd+unix://host/disk?socket=s', 'no host'],
    ['nbd+unix:///disk?socket=a&socket=b', 'comes twice'],
    [`nbd+unix:///disk?socket=${'x'.repeat(108)}`, '107 bytes'],
    ['nbds://example.com/disk', 'authority'],
  ])('%s is refused: %s', (uri, why) => {
    const refused = { code: 'input.invalid', message: expect.stringContaining(why) }
    expect(() => parseNbdUri(uri)).toThrow(expect.objectContaining(refused))
  })

  test.each([
    ['nbd://example.com/disk', 'nbds'],
    ['nbds://example.com/disk?tls-verify-peer=0', 'always checked'],
    ['nbds://example.com/disk?tls-type=anon', 'only x509'],
    ['nbds://example.com/disk?tls-type=psk', 'only x509'],
  ])('%s with certificates at hand is refused: %s', (uri, why) => {
    const refused = { code: 'input.invalid', message: expect.stringContaining(why) }
    expect(() => parseNbdUri(uri, { tls })).toThrow(expect.objectContaining(refused))
  })

  test('an endpoint becomes a URI and the same endpoint again', () => {
    const anyText = fc
      .string({ unit: 'binary', maxLength: 60 })
      .filter((text) => text.isWellFormed() && !text.includes('\0'))
    const anyAddress = fc.oneof(
      fc.record({
        transport: fc.constant('tcp' as const),
        host: fc.oneof(fc.domain(), fc.ipV4(), fc.constant('::1'), fc.constant('fd00::7')),
        port: fc.oneof(fc.integer({ min: 1, max: 65_535 }), fc.constant(10_809)),
      }),
      fc.record({ transport: fc.constant('unix' as const), path: anyText.filter((path) => path !== '') }),
    )
    const anyTls = fc.record({ caPem: fc.constant(tls.caPem), serverName: fc.domain() }, { requiredKeys: ['caPem'] })
    const anyEndpoint = fc
      .record(
        { kind: fc.constant('nbd' as const), address: anyAddress, exportName: anyText, tls: anyTls },
        { requiredKeys: ['kind', 'address', 'exportName'] },
      )
      .filter((endpoint) => NbdEndpoint.safeParse(endpoint).success)
    fc.assert(
      fc.property(anyEndpoint, (endpoint) => {
        const uri = formatNbdUri(endpoint)
        expect(uri).toMatch(/^[\x21-\x7e]+$/)
        expect(parseNbdUri(uri, { tls: endpoint.tls })).toEqual(endpoint)
      }),
      { numRuns: 500 },
    )
  })

  test('any text is an endpoint or input.invalid', () => {
    const anyText = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.webUrl({ validSchemes: ['nbd', 'nbds', 'nbd+unix'], withQueryParameters: true, withFragments: true }),
    )
    fc.assert(
      fc.property(anyText, (text) => {
        expect(['endpoint', 'input.invalid']).toContain(endOf(text))
      }),
      { numRuns: 1000 },
    )
  })
})

/** What a text is parsed to; anything but an endpoint or a refusal is thrown on. */
function endOf(text: string): 'endpoint' | 'input.invalid' {
  try {
    NbdEndpoint.parse(parseNbdUri(text))
    return 'endpoint'
  } catch (error) {
    if (isPlatformError(error, 'input.invalid')) return 'input.invalid'
    throw error
  }
}
