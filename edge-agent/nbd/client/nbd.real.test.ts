import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { describeBlockSink } from '../../block/block-sink.conformance.ts'
import { describeBlockSource } from '../../block/block-source.conformance.ts'
import type { BlockSource } from '../../block/block-source.ts'
import { lazyNbdSink, lazyNbdSource } from './lazy-nbd-disk.ts'
import { openNbdSink } from './nbd-sink.ts'
import { openNbdSource } from './nbd-source.ts'
import {
  makeTestDir,
  qemuImg,
  type RealServer,
  startNbdkit,
  startQemuNbd,
  startStorageDaemonExport,
  startTcpNbdkit,
} from './real-nbd-server.ts'

const SIZE_BYTES = 1024 * 1024
const signal = AbortSignal.timeout(300_000)

/** Some data, some explicit zeros, some never written. */
async function fillDisk({ endpoint }: RealServer): Promise<Uint8Array> {
  const content = new Uint8Array(SIZE_BYTES)
  content.set(
    Uint8Array.from({ length: 200_000 }, (_, at) => (at * 7) % 253),
    5000,
  )
  content.fill(9, 600_000, 900_000)
  content.fill(0, 655_360, 786_432)
  await using sink = await openNbdSink(endpoint, { signal })
  await sink.write(5000, content.subarray(5000, 205_000), { signal })
  await sink.write(600_000, new Uint8Array(300_000).fill(9), { signal })
  await sink.writeZeroes(655_360, 131_072, { signal })
  await sink.flush({ signal })
  return content
}

async function readAll({ endpoint }: Pick<RealServer, 'endpoint'>): Promise<Uint8Array> {
  await using source = await openNbdSource(endpoint, { signal })
  const bytes = new Uint8Array(source.sizeBytes)
  await source.read(0, bytes, { signal })
  return bytes
}

/** The disk, which also ends its server when it is disposed. */
function owning<T extends AsyncDisposable>(disk: T, ...owned: readonly AsyncDisposable[]): T {
  const disposeDisk = disk[Symbol.asyncDispose].bind(disk)
  return Object.assign(disk, {
    [Symbol.asyncDispose]: async () => {
      await disposeDisk()
      for (const one of owned) await one[Symbol.asyncDispose]()
    },
  })
}

async function startQcow2(start: (image: string) => Promise<RealServer>): Promise<RealServer> {
  const { dir, ...owner } = await makeTestDir()
  await qemuImg('create', '-q', '-f', 'qcow2', join(dir, 'disk.qcow2'), String(SIZE_BYTES))
  return owning(await start(join(dir, 'disk.qcow2')), owner)
}

async function startRaw(): Promise<RealServer> {
  const { dir, ...owner } = await makeTestDir()
  await qemuImg('create', '-q', '-f', 'raw', join(dir, 'disk.raw'), String(SIZE_BYTES))
  return owning(await startQemuNbd(join(dir, 'disk.raw'), ['--format=raw']), owner)
}

async function startStorageDaemon(): Promise<RealServer> {
  return await startQcow2(startStorageDaemonExport)
}

const servers: Record<string, () => Promise<RealServer>> = {
  'nbdkit memory': async () => await startNbdkit(['memory', String(SIZE_BYTES)]),
  'nbdkit over TCP': async () => await startTcpNbdkit(['memory', String(SIZE_BYTES)]),
  'nbdkit without zeros, extents, trim': async () => {
    return await startNbdkit(['--filter=nozero', '--filter=noextents', 'memory', String(SIZE_BYTES)])
  },
  'nbdkit with blocks of 4096 bytes': async () => {
    const policy = ['--filter=blocksize-policy', 'memory', String(SIZE_BYTES)]
    const sizes = ['blocksize-minimum=4096', 'blocksize-preferred=4096', 'blocksize-maximum=65536']
    return await startNbdkit([...policy, ...sizes, 'blocksize-error-policy=error'])
  },
  'qemu-nbd': async () => await startQcow2(async (image) => await startQemuNbd(image, ['--format=qcow2'])),
  'qemu-nbd, a raw file': startRaw,
  'qemu-storage-daemon': startStorageDaemon,
}

for (const [name, start] of Object.entries(servers)) {
  describeBlockSource(name, async () => {
    const server = await start()
    const content = await fillDisk(server)
    return { source: owning(await openNbdSource(server.endpoint, { signal }), server), content }
  })
  describeBlockSink(name, async () => {
    const server = await start()
    const sink = owning(await openNbdSink(server.endpoint, { signal }), server)
    return { sink, readBack: async () => await readAll(server) }
  })
}

describeBlockSource('lazy, on nbdkit', async () => {
  const server = await startNbdkit(['memory', String(SIZE_BYTES)])
  const content = await fillDisk(server)
  return { source: owning(lazyNbdSource({ endpoint: server.endpoint, sizeBytes: SIZE_BYTES }), server), content }
})

describeBlockSink('lazy, on nbdkit', async () => {
  const server = await startNbdkit(['memory', String(SIZE_BYTES)])
  const sink = owning(lazyNbdSink({ endpoint: server.endpoint, sizeBytes: SIZE_BYTES }), server)
  return { sink, readBack: async () => await readAll(server) }
})

describeBlockSink('an overlay with content below, on qemu-nbd', async () => {
  const { dir, ...owner } = await makeTestDir()
  const [base, top] = [join(dir, 'base.qcow2'), join(dir, 'top.qcow2')]
  await qemuImg('create', '-q', '-f', 'qcow2', base, String(SIZE_BYTES))
  const writer = await startQemuNbd(base, ['--format=qcow2'])
  const before = await fillDisk(writer)
  await writer[Symbol.asyncDispose]()
  await qemuImg('create', '-q', '-f', 'qcow2', '-b', base, '-F', 'qcow2', top)
  const server = await startQemuNbd(top, ['--format=qcow2'])
  const sink = owning(await openNbdSink(server.endpoint, { signal }), server, owner)
  return { sink, before, readBack: async () => await readAll(server) }
})

describe('a dirty bitmap', () => {
  test('tells exactly the granules that were written, zeroed and trimmed, with the zeros of the same disk', async () => {
    await using tmp = await makeTestDir()
    const image = join(tmp.dir, 'disk.qcow2')
    await qemuImg('create', '-q', '-f', 'qcow2', image, String(SIZE_BYTES))
    await using before = await startQemuNbd(image, ['--format=qcow2'])
    await fillDisk(before)
    await before[Symbol.asyncDispose]()
    await qemuImg('bitmap', '--add', '-g', '65536', image, 'b0')
    await using writable = await startQemuNbd(image, ['--format=qcow2'])
    const sink = await openNbdSink(writable.endpoint, { signal })
    await sink.write(70_000, Uint8Array.of(1, 2, 3), { signal })
    await sink.writeZeroes(65_536 * 10, 65_536, { signal })
    await sink.trim(65_536 * 13, 65_536, { signal })
    await sink.flush({ signal })
    await sink[Symbol.asyncDispose]()
    await writable[Symbol.asyncDispose]()
    await using server = await startQemuNbd(image, ['--format=qcow2', '--read-only', '--bitmap=b0'])
    const endpoint = { ...server.endpoint, dirtyContext: 'qemu:dirty-bitmap:b0' }
    await using source = await openNbdSource(endpoint, { signal })
    const extents = await Array.fromAsync(source.extents({ offsetBytes: 0, lengthBytes: SIZE_BYTES }, { signal }))
    const dirty = extents.filter((extent) => extent.dirty)
    expect(
      dirty.map(({ offsetBytes, lengthBytes, zero }) => [offsetBytes / 65_536, lengthBytes / 65_536, zero]),
    ).toEqual([
      [1, 1, false],
      [10, 1, true],
      [13, 1, true],
    ])
  })

  test('that is not there is refused', async () => {
    await using server = await startStorageDaemon()
    const endpoint = { ...server.endpoint, dirtyContext: 'qemu:dirty-bitmap:none' }
    await expect(openNbdSource(endpoint, { signal })).rejects.toMatchObject({ code: 'nbd.context_not_found' })
  })
})

describe('servers in trouble', () => {
  test('an unknown export is nbd.export_not_found', async () => {
    await using server = await startStorageDaemon()
    const endpoint = { ...server.endpoint, exportName: 'other' }
    await expect(openNbdSource(endpoint, { signal })).rejects.toMatchObject({ code: 'nbd.export_not_found' })
  })

  test('read errors name the offset, also after good reads', async () => {
    const faults = ['error-pread=EIO', 'error-pread-rate=50%']
    await using server = await startNbdkit(['--filter=error', 'memory', String(SIZE_BYTES), ...faults])
    await using source = await openNbdSource(server.endpoint, { signal })
    const ends = await readBlocks(source, 40)
    const failed = ends.flatMap((end, index) => (end.status === 'rejected' ? [{ reason: end.reason, index }] : []))
    expect(failed.length).toBeGreaterThan(0)
    expect(failed.length).toBeLessThan(40)
    for (const { reason, index } of failed) {
      expect(reason).toMatchObject({ code: 'source.read_failed', details: { offsetBytes: index * 4096 } })
    }
  })

  test('no space is target.no_space', async () => {
    const fault = ['error-pwrite=ENOSPC', 'error-pwrite-rate=100%']
    await using server = await startNbdkit(['--filter=error', 'memory', String(SIZE_BYTES), ...fault])
    await using sink = await openNbdSink(server.endpoint, { signal })
    await expect(sink.write(0, new Uint8Array(4096), { signal })).rejects.toMatchObject({ code: 'target.no_space' })
  })

  test('a read-only export is nbd.read_only', async () => {
    await using server = await startNbdkit(['--readonly', 'memory', String(SIZE_BYTES)])
    await expect(openNbdSink(server.endpoint, { signal })).rejects.toMatchObject({ code: 'nbd.read_only' })
  })

  test('a disk that hangs is nbd.timeout, and an abort does not wait for it', async () => {
    await using server = await startNbdkit(['--filter=delay', 'memory', String(SIZE_BYTES), 'rdelay=20'])
    await using source = await openNbdSource(server.endpoint, { signal, idleTimeoutMs: 300 })
    const control = new AbortController()
    const read = source.read(0, new Uint8Array(4096), { signal: control.signal })
    control.abort(new Error('enough'))
    await expect(read).rejects.toThrow('enough')
    await expect(source.read(0, new Uint8Array(4096), { signal })).rejects.toMatchObject({ code: 'nbd.timeout' })
    server.process.kill('SIGKILL')
  })

  test('a server killed with reads in flight is nbd.disconnected for all of them', async () => {
    await using server = await startNbdkit(['--filter=delay', 'memory', String(SIZE_BYTES), 'rdelay=20'])
    await using source = await openNbdSource(server.endpoint, { signal })
    const reading = readBlocks(source, 40)
    server.process.kill('SIGKILL')
    for (const end of await reading) expect(end).toMatchObject({ reason: { code: 'nbd.disconnected' } })
  })
})

async function readBlocks(source: BlockSource, count: number): Promise<PromiseSettledResult<void>[]> {
  const reads = Array.from({ length: count }, async (_, index) => {
    await source.read(index * 4096, new Uint8Array(4096), { signal })
  })
  return await Promise.allSettled(reads)
}
