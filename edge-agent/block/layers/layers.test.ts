import { describe, expect, test } from 'vitest'
import { describeBlockSink } from '../block-sink.conformance.ts'
import { describeBlockSource } from '../block-source.conformance.ts'
import { createMemoryDisk } from '../memory-disk.ts'
import { countingSource } from './counting-source.ts'
import { faultySink, faultySource } from './faulty-disk.ts'
import { throttledSource } from './throttled-source.ts'

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

describeBlockSource('throttled over memory', async () => {
  const { disk, content } = makeDisk()
  return { source: throttledSource(disk, { bytesPerSecond: 1000, clock: makeClock() }), content }
})

describeBlockSource('without faults over memory', async () => {
  const { disk, content } = makeDisk()
  return { source: faultySource(disk, { seed: 1, errorRate: 0 }), content }
})

describeBlockSink('without faults over memory', async () => {
  const disk = createMemoryDisk({ sizeBytes: SIZE_BYTES })
  return { sink: faultySink(disk, { seed: 1, errorRate: 0 }), readBack: async () => disk.bytes.slice() }
})

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
  test('a throttle lets no more bytes begin than its rate in any time, first read free', async () => {
    const clock = makeClock()
    const source = throttledSource(makeDisk().disk, { bytesPerSecond: 10_000, clock })
    for (let count = 0; count < 11; count += 1) await source.read(0, new Uint8Array(1000), { signal })
    expect(clock.now().getTime()).toBe(1000)
  })

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
