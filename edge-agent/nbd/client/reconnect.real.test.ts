import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { BlockSource } from '../../block/block-source.ts'
import type { NbdReconnected } from './connection-group.ts'
import { openNbdSink } from './nbd-sink.ts'
import { openNbdSource } from './nbd-source.ts'
import { makeTestDir, qemuImg, type RealServer, startNbdkit, startQemuNbd } from './real-nbd-server.ts'

const MIB = 1024 * 1024
const signal = AbortSignal.timeout(300_000)
const reconnect = { forMs: 60_000, attemptsMax: 1000 }

async function kill({ process }: RealServer): Promise<void> {
  const exited = once(process, 'exit')
  process.kill('SIGKILL')
  await exited
}

/** Of nbdkit's pattern plugin: every 8 bytes tell their offset, big-endian. */
function expectPattern(bytes: Uint8Array, offsetBytes: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const wrong = Array.from({ length: bytes.length / 8 }, (_, index) => index * 8).filter((at) => {
    return view.getBigUint64(at) !== BigInt(offsetBytes + at)
  })
  expect(wrong).toEqual([])
}

/** Reads all of the disk, 64 KiB at a time, eight at once. */
async function readPattern(source: BlockSource): Promise<void> {
  let at = 0
  const lane = async (): Promise<void> => {
    const into = new Uint8Array(65_536)
    while (at < source.sizeBytes) {
      const offsetBytes = at
      at += into.length
      await source.read(offsetBytes, into, { signal })
      expectPattern(into, offsetBytes)
    }
  }
  await Promise.all(Array.from({ length: 8 }, lane))
}

test('a source outlives its server, killed three times in the middle', async () => {
  const args = ['--filter=delay', 'pattern', String(24 * MIB), 'rdelay=5ms']
  const events: NbdReconnected[] = []
  await using first = await startNbdkit(args)
  const options = { signal, onReconnect: (event: NbdReconnected) => void events.push(event) }
  await using source = await openNbdSource({ ...first.endpoint, reconnect }, options)
  const reading = readPattern(source)
  let server = first
  await using later = new AsyncDisposableStack()
  for (let round = 0; round < 3; round += 1) {
    await delay(40)
    await kill(server)
    await delay(30)
    server = later.use(await startNbdkit(args, first))
  }
  await reading
  expect(events.length).toBeGreaterThan(0)
  expect(events.length).toBeLessThanOrEqual(3)
})

test('a sink says so when its server died after writes that were not flushed, and goes on otherwise', async () => {
  await using tmp = await makeTestDir()
  const file = join(tmp.dir, 'disk')
  await writeFile(file, new Uint8Array(4 * MIB))
  await using first = await startNbdkit(['file', file])
  const endpoint = { ...first.endpoint, reconnect }
  await using sink = await openNbdSink(endpoint, { signal })
  await sink.write(0, new Uint8Array(MIB).fill(1), { signal })
  await sink.flush({ signal })
  await kill(first)
  await using second = await startNbdkit(['file', file], first)
  await sink.flush({ signal })
  await sink.write(MIB, new Uint8Array(MIB).fill(2), { signal })
  await kill(second)
  await using third = await startNbdkit(['file', file], first)
  await expect(sink.flush({ signal })).rejects.toMatchObject({ code: 'nbd.writes_uncertain' })
  await using again = await openNbdSink(endpoint, { signal })
  await again.write(MIB, new Uint8Array(MIB).fill(2), { signal })
  await again.flush({ signal })
  const content = await readFile(file)
  expect([0, 1, 2].map((mib) => content[mib * MIB + 5])).toEqual([1, 2, 0])
  expect(third.process.exitCode).toBeNull()
})

test('an export that is another after the restart is refused', async () => {
  await using first = await startNbdkit(['pattern', String(4 * MIB)])
  await using source = await openNbdSource({ ...first.endpoint, reconnect }, { signal })
  await kill(first)
  await using second = await startNbdkit(['pattern', String(8 * MIB)], first)
  const reading = source.read(0, new Uint8Array(8), { signal })
  await expect(reading).rejects.toMatchObject({ code: 'nbd.export_changed' })
  expect(second.process.exitCode).toBeNull()
})

test('nbdkit is read and written over four connections, and one flush covers them all', async () => {
  await using tmp = await makeTestDir()
  const log = join(tmp.dir, 'log')
  await using server = await startNbdkit(['--filter=log', 'memory', String(64 * MIB), `logfile=${log}`])
  const endpoint = { ...server.endpoint, connections: 4, requestsInFlightMax: 2 }
  await using sink = await openNbdSink(endpoint, { signal })
  const pieces = Array.from({ length: 64 }, (_, index) => index)
  await Promise.all(
    pieces.map(async (piece) => await sink.write(piece * MIB, new Uint8Array(MIB).fill(piece + 1), { signal })),
  )
  await sink.flush({ signal })
  await using source = await openNbdSource(endpoint, { signal })
  await Promise.all(
    pieces.map(async (piece) => {
      const into = new Uint8Array(MIB)
      await source.read(piece * MIB, into, { signal })
      expect(into.every((byte) => byte === piece + 1)).toBe(true)
    }),
  )
  const lines = (await readFile(log, 'utf8')).split('\n')
  const connectionsOf = (command: string): number => {
    const ids = lines.filter((line) => line.includes(` ${command} `)).map((line) => /connection=(\d+)/.exec(line)?.[1])
    return new Set(ids).size
  }
  expect({ write: connectionsOf('Write'), read: connectionsOf('Read'), flush: connectionsOf('Flush') }).toEqual({
    write: 4,
    read: 4,
    flush: 1,
  })
})

test('a server that says several connections are safe and takes one only is read over that one', async () => {
  await using tmp = await makeTestDir()
  const image = join(tmp.dir, 'disk.raw')
  await qemuImg('create', '-q', '-f', 'raw', image, String(16 * MIB))
  await using server = await startQemuNbd(image, ['--format=raw', '--read-only', '--shared=1'])
  const endpoint = { ...server.endpoint, connections: 4, requestsInFlightMax: 1 }
  const source = await openNbdSource(endpoint, { signal })
  const into = new Uint8Array(16 * MIB)
  await source.read(0, into, { signal })
  expect(into.every((byte) => byte === 0)).toBe(true)
  await source[Symbol.asyncDispose]()
})
