import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { describe, expect, test } from 'vitest'
import { describeBlockSink } from '../block-sink.conformance.ts'
import { describeBlockSource } from '../block-source.conformance.ts'
import type { BlockSource } from '../block-source.ts'
import { createMemoryDisk } from '../memory-disk.ts'
import { countingSource } from './counting-source.ts'
import { faultySink, faultySource } from './faulty-disk.ts'
import { type RetryOptions, retryingSource } from './retrying-source.ts'
import { createVolatileSink } from './volatile-sink.ts'

const SIZE_BYTES = 100_000
const signal = AbortSignal.timeout(60_000)

function makeDisk() {
  const content = Uint8Array.from({ length: SIZE_BYTES }, (_, at) => at % 251)
  return { disk: createMemoryDisk({ sizeBytes: SIZE_BYTES, content }), content }
}

/** Time passes only by sleeping. */
function makeClock() {
  let nowMs = 0
  const sleep = async (milliseconds: number): Promise<void> => {
    nowMs += milliseconds
  }
  return { now: () => new Date(nowMs), sleep }
}

describeBlockSource('counting over memory', async () => {
  const { disk, content } = makeDisk()
  return { source: countingSource(disk, () => undefined), content }
})

describeBlockSource('tried again over 30 % faults over memory', async () => {
  const { disk, content } = makeDisk()
  const faulty = faultySource(disk, { seed: 7, errorRate: 0.3 })
  return { source: retryingSource(faulty, { ...options(), attemptsMax: 60 }), content }
})

describeBlockSource('without faults over memory', async () => {
  const { disk, content } = makeDisk()
  return { source: faultySource(disk, { seed: 1, errorRate: 0 }), content }
})

describeBlockSink('without faults over memory', async () => {
  const disk = createMemoryDisk({ sizeBytes: SIZE_BYTES })
  return { sink: faultySink(disk, { seed: 1, errorRate: 0 }), readBack: async () => disk.bytes.slice() }
})

function options(): RetryOptions {
  return { name: 'disk vda', clock: makeClock(), random: () => 1, onRetry: () => undefined }
}

/** How 60 reads of one byte end. */
async function failures(seed: number): Promise<string> {
  const source = faultySource(makeDisk().disk, { seed, errorRate: 0.3 })
  const ends: string[] = []
  for (let at = 0; at < 60; at += 1) {
    const [end] = await Promise.allSettled([source.read(at, new Uint8Array(1), { signal })])
    ends.push(end.status)
  }
  return ends.join()
}

describe('layers', () => {
  test('counts what is asked for, failed reads too', async () => {
    let bytes = 0
    const source = countingSource(faultySource(makeDisk().disk, { seed: 1, errorRate: 1 }), (lengthBytes) => {
      bytes += lengthBytes
    })
    await expect(source.read(0, new Uint8Array(123), { signal })).rejects.toThrow('injected')
    expect(bytes).toBe(123)
  })

  test('the same seed fails the same reads, another seed others', async () => {
    expect(await failures(7)).toBe(await failures(7))
    expect(await failures(7)).not.toBe(await failures(8))
    expect(await failures(7)).toContain('rejected')
    expect(await failures(7)).toContain('fulfilled')
  })
})

describeBlockSink('with a volatile cache', async () => {
  const sink = createVolatileSink(SIZE_BYTES, () => 1)
  return { sink, readBack: async () => sink.bytes.slice() }
})

describe('reads that are tried again', () => {
  test('wait longer each time, tell of it, and in the end name disk, range and attempts', async () => {
    const clock = makeClock()
    const seen: string[] = []
    const recording = { ...options(), clock, onRetry: ({ code }: { code: string }) => void seen.push(code) }
    const source = retryingSource(faultySource(makeDisk().disk, { seed: 1, errorRate: 1 }), recording)
    const reading = source.read(65_536, new Uint8Array(4096), { signal })
    await expect(reading).rejects.toMatchObject({
      code: 'source.read_failed',
      message: expect.stringContaining('disk vda: 4 KiB from byte 65536 (64 KiB) could not be read in 5 attempts'),
      details: { offsetBytes: 65_536, lengthBytes: 4096, attempts: 5 },
    })
    expect(seen).toEqual(Array.from({ length: 4 }, () => 'source.read_failed'))
    expect(clock.now().getTime()).toBe(400 + 800 + 1600 + 3200)
  })

  test('end at once when cancelled, and are not tried again on a broken connection', async () => {
    const control = new AbortController()
    const clock = { ...makeClock(), sleep: async () => control.abort(new Error('enough')) }
    const faulty = faultySource(makeDisk().disk, { seed: 1, errorRate: 1 })
    const source = retryingSource(faulty, { ...options(), clock })
    await expect(source.read(0, new Uint8Array(1), { signal: control.signal })).rejects.toThrow('enough')
    let attempts = 0
    const cut = {
      ...faulty,
      read: async () => {
        attempts += 1
        throw new PlatformError('nbd.disconnected', 'gone')
      },
    }
    const reading = retryingSource(cut, options()).read(0, new Uint8Array(1), { signal })
    await expect(reading).rejects.toMatchObject({ code: 'nbd.disconnected' })
    expect(attempts).toBe(1)
  })
})

/** A disk of ten extents whose `failsAt`-th one cannot be told of the first `times` times. */
function tenExtents({ failsAt, times }: { readonly failsAt: number; readonly times: number }) {
  const { disk } = makeDisk()
  const asked: string[] = []
  let left = times
  const source: BlockSource = {
    sizeBytes: SIZE_BYTES,
    read: async (offsetBytes, into, call) => await disk.read(offsetBytes, into, call),
    [Symbol.asyncDispose]: async () => undefined,
    async *extents({ offsetBytes, lengthBytes }) {
      asked.push(`${offsetBytes}+${lengthBytes}`)
      for (let at = offsetBytes; at < offsetBytes + lengthBytes; at += 10_000) {
        if (at === failsAt * 10_000 && left > 0) {
          left -= 1
          throw new PlatformError('source.read_failed', 'bad block', {
            details: { offsetBytes: at, lengthBytes: 512 },
          })
        }
        yield { offsetBytes: at, lengthBytes: 10_000, zero: false, dirty: true }
      }
    },
  }
  return { source, asked }
}

describe('extents that are tried again', () => {
  test('go on where they had come, and each that comes begins the count anew', async () => {
    const { source, asked } = tenExtents({ failsAt: 3, times: 4 })
    let retries = 0
    const retried = retryingSource(source, { ...options(), onRetry: () => void (retries += 1) })
    const extents = await Array.fromAsync(retried.extents({ offsetBytes: 0, lengthBytes: SIZE_BYTES }, { signal }))
    expect(extents.map(({ offsetBytes }) => offsetBytes / 10_000)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    expect(asked).toEqual(['0+100000', ...Array.from({ length: 4 }, () => '30000+70000')])
    expect(retries).toBe(4)
  })

  test('name disk, range and attempts in the end', async () => {
    const { source } = tenExtents({ failsAt: 7, times: 5 })
    const asking = Array.fromAsync(
      retryingSource(source, options()).extents({ offsetBytes: 0, lengthBytes: SIZE_BYTES }, { signal }),
    )
    await expect(asking).rejects.toMatchObject({
      code: 'source.read_failed',
      message: expect.stringContaining('disk vda: 512 B from byte 70000'),
      details: { offsetBytes: 70_000, lengthBytes: 512, attempts: 5 },
    })
    await expect(asking).rejects.toThrow(/could not be asked for its extents in 5 attempts/)
  })

  test('whoever takes no more ends them in the source too', async () => {
    let isEnded = false
    const source: BlockSource = {
      sizeBytes: SIZE_BYTES,
      read: async () => undefined,
      [Symbol.asyncDispose]: async () => undefined,
      async *extents({ offsetBytes }) {
        try {
          for (;;) yield { offsetBytes, lengthBytes: 1, zero: false, dirty: true }
        } finally {
          isEnded = true
        }
      },
    }
    for await (const _ of retryingSource(source, options()).extents({ offsetBytes: 0, lengthBytes: 9 }, { signal }))
      break
    expect(isEnded).toBe(true)
  })
})

describe('a volatile cache', () => {
  test('keeps what was flushed, may lose the rest, and tells of it once', async () => {
    const sink = createVolatileSink(SIZE_BYTES, () => 1)
    await sink.write(0, Uint8Array.of(1, 2, 3), { signal })
    await sink.flush({ signal })
    await sink.write(1, Uint8Array.of(9), { signal })
    sink.lose()
    expect([...sink.bytes.subarray(0, 3)]).toEqual([1, 2, 3])
    await expect(sink.flush({ signal })).rejects.toMatchObject({ code: 'nbd.writes_uncertain' })
    await expect(sink.flush({ signal })).resolves.toBeUndefined()
    const underWay = sink.write(0, Uint8Array.of(7), { signal })
    sink.lose()
    await expect(underWay).rejects.toMatchObject({ code: 'nbd.writes_uncertain' })
    sink.lose()
    await expect(sink.flush({ signal })).resolves.toBeUndefined()
  })
})
