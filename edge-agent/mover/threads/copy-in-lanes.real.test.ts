import { randomBytes } from 'node:crypto'
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { openNbdSink } from '../../nbd/client/nbd-sink.ts'
import { openNbdSource } from '../../nbd/client/nbd-source.ts'
import { makeTestDir, type RealServer, startNbdkit } from '../../nbd/client/real-nbd-server.ts'
import { ChunkHash } from '../chunk-hash.ts'
import { ChunkIds } from '../chunk-ids.ts'
import { createMover } from '../create-mover.ts'
import type { CopyProgress } from '../mover.ts'
import { SharedThrottle } from '../rate/shared-throttle.ts'
import { startBreakingRelay } from '../testing/breaking-relay.ts'

const MIB = 1024 * 1024
const DISK_BYTES = 640 * MIB
const CHUNK_BYTES = 256 * 1024
/** Every 64 MiB a few chunks of data; every other one across the border of a stripe. */
const DATA_AT = Array.from({ length: 10 }, (_, index) => {
  return index * 64 * MIB + (index % 2 === 0 ? 16 * MIB : 64 * MIB - 2 * CHUNK_BYTES)
})
const DATA_BYTES = 4 * CHUNK_BYTES + 4096
const call = { signal: AbortSignal.timeout(120_000) }
const idKey = new Uint8Array(32).fill(3)

interface Disk extends AsyncDisposable {
  readonly server: RealServer
  readonly image: string
  readonly log: string
  readonly pieces: ReadonlyMap<number, Buffer>
}

/** A raw image with data here and there, served by nbdkit, which logs its connections. */
async function makeDisk(): Promise<Disk> {
  const dir = await makeTestDir()
  const image = join(dir.dir, 'disk')
  const log = join(dir.dir, 'log')
  const pieces = new Map<number, Buffer>()
  {
    await using file = await open(image, 'w')
    await file.truncate(DISK_BYTES)
    for (const at of DATA_AT) {
      const piece = randomBytes(Math.min(DATA_BYTES, DISK_BYTES - at))
      await file.write(piece, 0, piece.length, at)
      pieces.set(at, piece)
    }
  }
  const server = await startNbdkit(['--filter=log', 'file', image, `logfile=${log}`])
  const end = async (): Promise<void> => {
    await server[Symbol.asyncDispose]()
    await dir[Symbol.asyncDispose]()
  }
  return { server, image, log, pieces, [Symbol.asyncDispose]: end }
}

/** Connections that read data, by nbdkit's log. */
async function readersOf({ log }: Disk): Promise<number> {
  const lines = (await readFile(log, 'utf8')).split('\n').filter((line) => line.includes(' Read '))
  return new Set(lines.map((line) => /connection=(\d+)/.exec(line)?.[1])).size
}

async function expectSame(target: RealServer, { pieces }: Disk): Promise<void> {
  await using written = await openNbdSource(target.endpoint, call)
  for (const [at, piece] of pieces) {
    const bytes = new Uint8Array(piece.length)
    await written.read(at, bytes, call)
    expect(Buffer.compare(bytes, piece)).toBe(0)
  }
}

/** What a backup leaves as ids of this disk. */
function idsOf({ pieces }: Disk): ChunkIds {
  const ids = new ChunkIds(DISK_BYTES, CHUNK_BYTES)
  const hash = new ChunkHash(idKey)
  for (const [at, piece] of pieces) {
    for (let start = 0; start < piece.length; start += CHUNK_BYTES) {
      const chunk = Buffer.alloc(CHUNK_BYTES)
      piece.copy(chunk, 0, start, Math.min(piece.length, start + CHUNK_BYTES))
      ids.set((at + start) / CHUNK_BYTES, hash.idOf(chunk))
    }
  }
  return ids
}

describe('a copy in lanes', () => {
  test('a disk is copied, backed up and checked by both idle threads, byte for byte, and counted once', async () => {
    await using mover = createMover({ threadsMax: 2 })
    await using disk = await makeDisk()
    await using target = await startNbdkit(['memory', String(DISK_BYTES)])
    await using source = await openNbdSource(disk.server.endpoint, call)
    await using sink = await openNbdSink(target.endpoint, call)
    const chunkIds = new ChunkIds(DISK_BYTES, CHUNK_BYTES)
    const progress = await mover.copyBackup({ mode: 'full', source, sink, chunkIds, idKey }, call)
    expect(await readersOf(disk)).toBeGreaterThanOrEqual(2)
    expect(Buffer.compare(chunkIds.bytes, idsOf(disk).bytes)).toBe(0)
    expect(progress.doneBytes).toBe(progress.plannedBytes)
    expect(progress.readBytes).toBe(progress.plannedBytes)
    await expectSame(target, disk)
    await mover.copyRestore({ source, chunkIds, idKey }, call)
    await sink.writeZeroes(0, DISK_BYTES, call)
    const copied = await mover.copyDisk({ source, sink }, call)
    expect(copied).toMatchObject({ isPlanComplete: true, checkpoint: { offsetBytes: DISK_BYTES } })
    await expectSame(target, disk)
  })

  test('of several corrupt chunks the first one on the disk is named, whichever thread finds one first', async () => {
    await using mover = createMover({ threadsMax: 2 })
    await using disk = await makeDisk()
    await using source = await openNbdSource(disk.server.endpoint, call)
    for (const [first, second] of [
      [1, 4],
      [3, 6],
    ] as const) {
      const chunkIds = idsOf(disk)
      for (const damaged of [first, second]) chunkIds.at((DATA_AT[damaged] ?? 0) / CHUNK_BYTES)[0]! ^= 1
      await expect(mover.copyRestore({ source, chunkIds, idKey }, call)).rejects.toMatchObject({
        code: 'repository.chunk_corrupt',
        details: { offsetBytes: DATA_AT[first] },
      })
    }
  })

  test('a copy resumed from any of its checkpoints ends with the same disk', async () => {
    await using mover = createMover({ threadsMax: 2 })
    await using disk = await makeDisk()
    await using source = await openNbdSource(disk.server.endpoint, call)
    const seen: CopyProgress['checkpoint'][] = []
    {
      await using target = await startNbdkit(['memory', String(DISK_BYTES)])
      await using sink = await openNbdSink(target.endpoint, call)
      const onProgress = ({ checkpoint }: CopyProgress): void => void seen.push(checkpoint)
      await mover.copyDisk({ source, sink, checkpointEveryBytes: 1 }, { ...call, onProgress })
    }
    const middle = seen.find(({ offsetBytes }) => offsetBytes > 0 && offsetBytes < DISK_BYTES)
    if (middle === undefined) throw new Error('the copy made no checkpoint on its way')
    await using target = await startNbdkit(['memory', String(DISK_BYTES)])
    await using sink = await openNbdSink(target.endpoint, call)
    for (const [at, piece] of disk.pieces) {
      const before = piece.subarray(0, Math.max(0, Math.min(piece.length, middle.offsetBytes - at)))
      if (before.length > 0) await sink.write(at, before, call)
    }
    const end = await mover.copyDisk({ source, sink, resumeFrom: middle }, call)
    expect(end.doneBytes).toBe(end.plannedBytes)
    await expectSame(target, disk)
  })

  test('lanes whose connections break in the middle go back together, with what they had taken from each other', async () => {
    await using mover = createMover({ threadsMax: 2 })
    await using disk = await makeDisk()
    await using source = await openNbdSource(disk.server.endpoint, call)
    await using target = await startNbdkit(['memory', String(DISK_BYTES)])
    await using relay = await startBreakingRelay(target.endpoint)
    await using sink = await openNbdSink(relay.endpoint, call)
    const chunkIds = new ChunkIds(DISK_BYTES, CHUNK_BYTES)
    let isBroken = false
    const onProgress = ({ doneBytes, plannedBytes, isPlanComplete }: CopyProgress): void => {
      if (isBroken || !isPlanComplete || doneBytes < plannedBytes / 2) return
      isBroken = true
      relay.breakAll()
    }
    const throttles = [SharedThrottle.at(8 * MIB)]
    const task = { mode: 'full', source, sink, chunkIds, idKey, throttles } as const
    const progress = await mover.copyBackup({ ...task, checkpointEveryBytes: MIB }, { ...call, onProgress })
    expect(progress.rewinds).toBe(1)
    expect(progress.doneBytes).toBe(progress.plannedBytes)
    expect(Buffer.compare(chunkIds.bytes, idsOf(disk).bytes)).toBe(0)
    await expectSame(target, disk)
  })

  test('a cancelled copy ends all its lanes; where no thread is idle a copy has one', async () => {
    await using mover = createMover({ threadsMax: 2 })
    await using slow = await startNbdkit(['--filter=delay', 'pattern', String(DISK_BYTES), 'rdelay=50ms'])
    await using source = await openNbdSource(slow.endpoint, call)
    const control = new AbortController()
    const first = mover.copyDisk({ source }, { signal: control.signal })
    await using disk = await makeDisk()
    await using other = await openNbdSource(disk.server.endpoint, call)
    await mover.copyDisk({ source: other }, call)
    expect(await readersOf(disk)).toBe(1)
    control.abort(new Error('enough'))
    await expect(first).rejects.toThrow('enough')
  })
})
