import { describe, expect, test } from 'vitest'
import { createMemoryDisk } from '../../block/memory-disk.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_WRITE,
  NBD_EINVAL,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
} from '../wire/nbd-constants.ts'
import type { NbdExport } from './nbd-export.ts'
import { openServedClient } from './open-served-client.ts'

const SIZE_BYTES = 1024 * 1024
const HALF = SIZE_BYTES / 2
const signal = AbortSignal.timeout(120_000)

/** Data in the first half and a granule of the second; two granules are dirty. */
async function makeTracked(): Promise<NbdExport> {
  const disk = createMemoryDisk({ sizeBytes: SIZE_BYTES })
  await disk.write(0, new Uint8Array(HALF).fill(1), { signal })
  const tracker = disk.addTracker()
  await disk.write(4096, Uint8Array.of(1), { signal })
  await disk.write(HALF, Uint8Array.of(0), { signal })
  return { name: 'd', source: disk.freeze(tracker), dirtyBitmap: 'b0' }
}

/** Structured: [context, length, flags, length, flags …]. */
function numbers(payload: Buffer): number[] {
  return Array.from({ length: payload.length / 4 }, (_, index) => payload.readUInt32BE(index * 4))
}

describe('NBD BLOCK_STATUS', () => {
  const contexts = ['base:allocation', 'qemu:dirty-bitmap:b0']

  test('tells both contexts of a range, each in runs of its own', async () => {
    await using opened = await openServedClient(await makeTracked(), { style: 'structured', contexts })
    const chunks = await opened.client.ask({ command: NBD_CMD_BLOCK_STATUS, offset: 0, length: SIZE_BYTES })
    expect(chunks.map(({ type, isLast }) => [type, isLast])).toEqual([
      [NBD_REPLY_TYPE_BLOCK_STATUS, false],
      [NBD_REPLY_TYPE_BLOCK_STATUS, true],
    ])
    expect(chunks.map(({ payload }) => numbers(payload))).toEqual([
      [1, HALF + 4096, 0, HALF - 4096, 3],
      [2, 4096, 0, 4096, 1, HALF - 8192, 0, 4096, 1, HALF - 4096, 0],
    ])
  })

  test('tells one run no longer than asked, where one is asked for', async () => {
    await using opened = await openServedClient(await makeTracked(), { style: 'structured', contexts })
    const one = { command: NBD_CMD_BLOCK_STATUS, flags: NBD_CMD_FLAG_REQ_ONE }
    const ask = async (offset: number, length: number) => {
      const chunks = await opened.client.ask({ ...one, offset, length })
      return chunks.map(({ payload }) => numbers(payload))
    }
    expect(await ask(100, 1000)).toEqual([
      [1, 1000, 0],
      [2, 1000, 0],
    ])
    expect(await ask(HALF - 100, HALF)).toEqual([
      [1, 4196, 0],
      [2, 100, 0],
    ])
  })

  test('with extended headers tells 64 bits, of the contexts asked for only', async () => {
    await using opened = await openServedClient(await makeTracked(), { style: 'extended', contexts })
    const ask = async (ids: readonly number[], lengthBytes = SIZE_BYTES) => {
      const payload = Buffer.alloc(8 + ids.length * 4)
      payload.writeBigUInt64BE(BigInt(lengthBytes))
      for (const [index, id] of ids.entries()) payload.writeUInt32BE(id, 8 + index * 4)
      return await opened.client.ask({ command: NBD_CMD_BLOCK_STATUS, payload })
    }
    const chunks = await ask([1])
    expect(chunks).toMatchObject([{ type: NBD_REPLY_TYPE_BLOCK_STATUS_EXT, isLast: true }])
    expect(chunks.map(({ payload }) => numbers(payload))).toEqual([[1, 2, 0, HALF + 4096, 0, 0, 0, HALF - 4096, 0, 3]])
    expect(await ask([2, 1])).toHaveLength(2)
    for (const wrong of [[], [1, 1], [3]]) expect(await ask(wrong)).toMatchObject([{ errorNumber: NBD_EINVAL }])
    expect(await ask([1], SIZE_BYTES + 1)).toMatchObject([{ errorNumber: NBD_EINVAL }])
    expect(await ask([1], 0)).toMatchObject([{ errorNumber: NBD_EINVAL }])
    const whole = { command: NBD_CMD_BLOCK_STATUS, length: SIZE_BYTES }
    expect(await opened.client.ask(whole)).toHaveLength(2)
  })

  test('of a changing disk tells what is there now', async () => {
    const disk = createMemoryDisk({ sizeBytes: SIZE_BYTES })
    const one = { name: 'd', source: disk, sink: disk }
    await using opened = await openServedClient(one, { style: 'structured', contexts: ['base:allocation'] })
    const ask = async () => {
      const [chunk] = await opened.client.ask({ command: NBD_CMD_BLOCK_STATUS, length: SIZE_BYTES })
      return numbers(chunk?.payload ?? Buffer.alloc(0))
    }
    expect(await ask()).toEqual([1, SIZE_BYTES, 3])
    await opened.client.ask({ command: NBD_CMD_WRITE, payload: new Uint8Array(4096).fill(1) })
    expect(await ask()).toEqual([1, 4096, 0, SIZE_BYTES - 4096, 3])
  })
})
