import { describeBlockSink } from '../../block/block-sink.conformance.ts'
import { describeBlockSource } from '../../block/block-source.conformance.ts'
import { createMemoryDisk } from '../../block/memory-disk.ts'
import { openNbdSink } from '../client/nbd-sink.ts'
import { openNbdSource } from '../client/nbd-source.ts'
import type { BlockSizes } from '../wire/handshake-options.ts'
import { openTemporaryNbdServer } from './temporary-nbd-server.ts'

const SIZE_BYTES = 1024 * 1024
const signal = AbortSignal.timeout(120_000)

/** The disk, which also ends its server when it is disposed. */
function owning<T extends AsyncDisposable>(disk: T, owner: AsyncDisposable): T {
  const disposeDisk = disk[Symbol.asyncDispose].bind(disk)
  return Object.assign(disk, {
    [Symbol.asyncDispose]: async () => {
      await disposeDisk()
      await owner[Symbol.asyncDispose]()
    },
  })
}

/** Data, known zeros, and zeros that nobody knows of. */
async function fill(disk: ReturnType<typeof createMemoryDisk>): Promise<void> {
  const bytes = Uint8Array.from({ length: 200_000 }, (_, at) => (at * 7) % 253)
  await disk.write(5000, bytes, { signal })
  await disk.write(500_000, new Uint8Array(300_000).fill(9), { signal })
  await disk.write(900_000, new Uint8Array(50_000), { signal })
  await disk.writeZeroes(600_000, 100_000, { signal })
}

const sizes: Record<string, BlockSizes | undefined> = {
  'default blocks': undefined,
  'blocks of 4096 bytes': { minimumBytes: 4096, preferredBytes: 65_536, maximumBytes: 65_536 },
}

for (const [name, blockSizes] of Object.entries(sizes)) {
  const layout = blockSizes === undefined ? {} : { blockSizes }
  describeBlockSource(`our own client and server, read-only, ${name}`, async () => {
    const disk = createMemoryDisk({ sizeBytes: SIZE_BYTES, granularityBytes: 512 })
    await fill(disk)
    const server = await openTemporaryNbdServer([{ name: 'disk', source: disk, ...layout }])
    return { source: owning(await openNbdSource(server.endpoint(), { signal }), server), content: disk.bytes.slice() }
  })

  describeBlockSource(`our own client and server, with a dirty bitmap, ${name}`, async () => {
    const disk = createMemoryDisk({ sizeBytes: SIZE_BYTES, granularityBytes: 512 })
    const tracker = disk.addTracker()
    await fill(disk)
    const frozen = disk.freeze(tracker)
    const server = await openTemporaryNbdServer([{ name: 'disk', source: frozen, dirtyBitmap: 'b0', ...layout }])
    const endpoint = { ...server.endpoint(), dirtyContext: 'qemu:dirty-bitmap:b0' }
    const dirty = [{ offsetBytes: 5000, lengthBytes: 200_000 }]
    return { source: owning(await openNbdSource(endpoint, { signal }), server), content: frozen.bytes, dirty }
  })

  describeBlockSource(`our own client and server, writable, ${name}`, async () => {
    const disk = createMemoryDisk({ sizeBytes: SIZE_BYTES, granularityBytes: 512 })
    await fill(disk)
    const server = await openTemporaryNbdServer([{ name: 'disk', source: disk, sink: disk, ...layout }])
    return { source: owning(await openNbdSource(server.endpoint(), { signal }), server), content: disk.bytes.slice() }
  })

  describeBlockSink(`our own client and server, ${name}`, async () => {
    const disk = createMemoryDisk({ sizeBytes: SIZE_BYTES })
    const server = await openTemporaryNbdServer([{ name: 'disk', source: disk, sink: disk, ...layout }])
    const sink = owning(await openNbdSink(server.endpoint(), { signal }), server)
    return { sink, readBack: async () => disk.bytes.slice() }
  })
}
