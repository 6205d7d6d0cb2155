import { setImmediate as turn } from 'node:timers/promises'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { describe, expect, test } from 'vitest'
import { createMemoryDisk } from '../../block/memory-disk.ts'
import { LazyDisk } from './lazy-disk.ts'

const call = { signal: AbortSignal.timeout(60_000) }
const expected = { sizeBytes: 4096, wrongSize: 'source.disk_size_changed' } as const

/** Counts how often it was opened and closed. */
function makeOpener(sizeBytes = 4096) {
  const counts = { opened: 0, closed: 0 }
  const open = async () => {
    counts.opened += 1
    await turn()
    const disk = createMemoryDisk({ sizeBytes })
    const dispose = async (): Promise<void> => {
      counts.closed += 1
    }
    return Object.assign(disk, { [Symbol.asyncDispose]: dispose })
  }
  return { counts, open }
}

describe('lazy disk', () => {
  test('opens nothing until it is used, then once for all, and closes that', async () => {
    const { counts, open } = makeOpener()
    const disk = new LazyDisk(open, expected)
    expect(counts).toEqual({ opened: 0, closed: 0 })
    const [first, second] = await Promise.all([disk.open(call), disk.open(call)])
    expect(first).toBe(second)
    await disk.close()
    expect(counts).toEqual({ opened: 1, closed: 1 })
    await expect(disk.open(call)).rejects.toMatchObject({ code: 'nbd.disconnected' })
  })

  test('never used, there is nothing to close', async () => {
    const { counts, open } = makeOpener()
    await new LazyDisk(open, expected).close()
    expect(counts).toEqual({ opened: 0, closed: 0 })
  })

  test('another size is refused and closed', async () => {
    const { counts, open } = makeOpener(8192)
    const disk = new LazyDisk(open, expected)
    await expect(disk.open(call)).rejects.toMatchObject({ code: 'source.disk_size_changed' })
    expect(counts).toEqual({ opened: 1, closed: 1 })
    await disk.close()
  })

  test('a failed attempt is made again by the next use', async () => {
    const { open } = makeOpener()
    let attempts = 0
    const disk = new LazyDisk(async () => {
      attempts += 1
      if (attempts === 1) throw new PlatformError('nbd.disconnected', 'not yet')
      return await open()
    }, expected)
    await expect(disk.open(call)).rejects.toThrow('not yet')
    await expect(disk.open(call)).resolves.toMatchObject({ sizeBytes: 4096 })
    await disk.close()
  })

  test('one caller’s abort does not end the others’ wait, and closing ends an attempt under way', async () => {
    const { counts, open } = makeOpener()
    const disk = new LazyDisk(open, expected)
    const control = new AbortController()
    const impatient = disk.open({ signal: control.signal })
    const patient = disk.open(call)
    control.abort(new Error('enough'))
    await expect(impatient).rejects.toThrow('enough')
    await expect(patient).resolves.toMatchObject({ sizeBytes: 4096 })
    await disk.close()
    expect(counts.closed).toBe(1)
  })
})
