import { describe, expect, test } from 'vitest'
import type { BlockExtent, BlockSource } from '../../block/block-source.ts'
import { countingSource } from '../../block/layers/counting-source.ts'
import { createMemoryDisk } from '../../block/memory-disk.ts'
import type { ServedSink } from '../server/nbd-export.ts'
import { openTemporaryNbdServer } from '../server/temporary-nbd-server.ts'
import { openNbdConnection } from './nbd-connection.ts'
import { describeNbdExport, listNbdExports } from './nbd-exports.ts'
import { openNbdSink } from './nbd-sink.ts'
import { openNbdSource } from './nbd-source.ts'
import { createTestAuthority } from './test-authority.ts'

const call = { signal: AbortSignal.timeout(60_000) }
const MIB = 1024 * 1024
const TIB = 1024 * 1024 * MIB

/** A disk of zeros but for one MiB in its middle, which reads as sevens. */
function hugeSource(sizeBytes: number): BlockSource & { readonly asked: number[] } {
  const asked: number[] = []
  const island = sizeBytes / 2
  return {
    sizeBytes,
    asked,
    async *extents(range) {
      asked.push(range.lengthBytes)
      const end = range.offsetBytes + range.lengthBytes
      const borders = [range.offsetBytes, island, island + MIB, end].filter(
        (at) => at >= range.offsetBytes && at <= end,
      )
      for (const [index, offsetBytes] of borders.entries()) {
        const lengthBytes = (borders[index + 1] ?? end) - offsetBytes
        if (lengthBytes > 0) yield { offsetBytes, lengthBytes, zero: offsetBytes !== island, dirty: true }
      }
    },
    read: async (offsetBytes, into) => {
      into.fill(offsetBytes >= island && offsetBytes < island + MIB ? 7 : 0)
    },
    [Symbol.asyncDispose]: async () => undefined,
  }
}

describe('our client with our server', () => {
  test('speaks extended headers, also over TLS with certificates on both sides', async () => {
    const authority = await createTestAuthority()
    const own = await authority.issue({ names: ['localhost'] })
    const client = await authority.issue({ names: ['agent'] })
    const tls = {
      mode: 'required',
      certificate: own.certificatePem,
      key: own.keyPem,
      clientCa: authority.caPem,
    } as const
    const disk = createMemoryDisk({ sizeBytes: MIB, content: new Uint8Array(MIB).fill(5) })
    await using server = await openTemporaryNbdServer([{ name: 'disk', source: disk, sink: disk }], { tls })
    const endpoint = { ...server.endpoint(), tls: { caPem: authority.caPem, client } }
    await using connection = await openNbdConnection(endpoint, call)
    expect(connection.session.replyStyle).toBe('extended')
    await using sink = await openNbdSink(endpoint, call)
    await sink.write(100, new Uint8Array(300_000).fill(8), { ...call, fua: true })
    await using source = await openNbdSource(endpoint, call)
    const into = new Uint8Array(MIB)
    await source.read(0, into, call)
    expect([into[99], into[100], into[300_099], into[300_100]]).toEqual([5, 8, 8, 5])
    const { exports, isSecure } = await listNbdExports(endpoint.address, { ...call, tls: endpoint.tls })
    expect({ isSecure, names: exports.map(({ exportName }) => exportName) }).toEqual({
      isSecure: true,
      names: ['disk'],
    })
    await expect(openNbdConnection(server.endpoint(), call)).rejects.toMatchObject({ code: 'nbd.access_denied' })
    const nobody = { ...server.endpoint(), tls: { caPem: authority.caPem } }
    await expect(openNbdConnection(nobody, call)).rejects.toMatchObject({ code: expect.stringMatching(/^nbd\./) })
  })

  test('walks a disk of many terabytes in few questions, and reads what is there', async () => {
    const source = hugeSource(16 * TIB)
    await using server = await openTemporaryNbdServer([{ name: 'huge', source }])
    await using reader = await openNbdSource(server.endpoint(), call)
    const extents: BlockExtent[] = []
    const range = { offsetBytes: 7 * TIB, lengthBytes: 2 * TIB }
    for await (const extent of reader.extents(range, call)) extents.push(extent)
    const data = extents.filter(({ zero }) => !zero)
    expect(data).toEqual([{ offsetBytes: 8 * TIB, lengthBytes: MIB, zero: false, dirty: true }])
    expect(extents.length).toBeLessThan(300)
    const into = new Uint8Array(2 * MIB)
    await reader.read(8 * TIB - MIB, into, call)
    expect([into.indexOf(7), into.lastIndexOf(7)]).toEqual([MIB, 2 * MIB - 1])
  })

  test('zeroes a disk of many terabytes with few requests, where the sink is quick', async () => {
    const source = hugeSource(16 * TIB)
    const zeroed: [number, number][] = []
    const sink: ServedSink = {
      sizeBytes: 16 * TIB,
      write: async () => undefined,
      writeZeroes: async () => {
        throw new Error('slow')
      },
      zeroFast: async (offsetBytes, lengthBytes) => {
        zeroed.push([offsetBytes, lengthBytes])
        return true
      },
      flush: async () => undefined,
      [Symbol.asyncDispose]: async () => undefined,
    }
    await using server = await openTemporaryNbdServer([{ name: 'huge', source, sink }])
    await using writer = await openNbdSink(server.endpoint(), call)
    expect(await writer.zeroFast(0, 16 * TIB, call)).toBe(true)
    expect(zeroed).toHaveLength(256)
    expect(zeroed[3]).toEqual([(3 * TIB) / 16, TIB / 16])
  })

  test('reads a disk over several connections, each byte once', async () => {
    const content = Uint8Array.from({ length: 16 * MIB }, (_, at) => (at * 31) % 253)
    let readBytes = 0
    const disk = countingSource(createMemoryDisk({ sizeBytes: content.length, content }), (lengthBytes) => {
      readBytes += lengthBytes
    })
    await using server = await openTemporaryNbdServer([{ name: 'disk', source: disk }])
    const endpoint = { ...server.endpoint(), connections: 4, requestsInFlightMax: 2 }
    await using source = await openNbdSource(endpoint, call)
    const into = new Uint8Array(content.length)
    await source.read(0, into, call)
    expect(Buffer.compare(into, content)).toBe(0)
    expect(readBytes).toBe(content.length)
  })

  test('is told that an export was removed, and finds it again under the same name', async () => {
    const content = new Uint8Array(MIB).fill(3)
    const one = { name: 'disk', source: createMemoryDisk({ sizeBytes: MIB, content }) }
    await using server = await openTemporaryNbdServer([one])
    const reconnect = { forMs: 60_000, attemptsMax: 1000 }
    await using source = await openNbdSource({ ...server.endpoint(), reconnect }, { ...call, random: () => 0.01 })
    await server.server.removeExport('disk')
    const into = new Uint8Array(512)
    const reading = source.read(0, into, call)
    server.server.addExport(one)
    await reading
    expect(into.every((byte) => byte === 3)).toBe(true)
    await server.server.removeExport('disk')
    const described = describeNbdExport(server.endpoint().address, 'disk', call)
    await expect(described).rejects.toMatchObject({ code: 'nbd.export_not_found' })
  })
})
