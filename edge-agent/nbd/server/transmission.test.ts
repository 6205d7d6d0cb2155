import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { describe, expect, test } from 'vitest'
import { createMemoryDisk, type MemoryDisk } from '../../block/memory-disk.ts'
import {
  NBD_CMD_CACHE,
  NBD_CMD_DISC,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_EIO,
  NBD_ENOSPC,
  NBD_ENOTSUP,
  NBD_EPERM,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
} from '../wire/nbd-constants.ts'
import type { ServedSink } from './nbd-export.ts'
import { openServedClient } from './open-served-client.ts'

const SIZE_BYTES = 1024 * 1024
const HALF = SIZE_BYTES / 2
const signal = AbortSignal.timeout(120_000)

/** Data in the first half, known zeros in the second. */
async function makeDisk(): Promise<MemoryDisk> {
  const disk = createMemoryDisk({ sizeBytes: SIZE_BYTES })
  const bytes = Uint8Array.from({ length: HALF }, (_, at) => 1 + (at % 250))
  await disk.write(0, bytes, { signal })
  return disk
}

/** A sink that notes what it is asked, over a disk. */
function noting(disk: MemoryDisk, others: Partial<ServedSink> = {}) {
  const calls: string[] = []
  const sink: ServedSink = {
    sizeBytes: disk.sizeBytes,
    write: async (offsetBytes, bytes, options) => {
      calls.push(`write ${offsetBytes}+${bytes.length}`)
      await disk.write(offsetBytes, bytes, options)
    },
    writeZeroes: async (offsetBytes, lengthBytes, options) => {
      calls.push(`zero ${offsetBytes}+${lengthBytes}`)
      await disk.writeZeroes(offsetBytes, lengthBytes, options)
    },
    flush: async () => void calls.push('flush'),
    [Symbol.asyncDispose]: async () => undefined,
    ...others,
  }
  return { calls, sink }
}

describe('NBD READ', () => {
  test('without structured replies is one piece', async () => {
    const disk = await makeDisk()
    await using opened = await openServedClient({ name: 'd', source: disk })
    expect(await opened.client.ask({ command: NBD_CMD_READ, offset: HALF - 1000, length: 2000 })).toMatchObject([
      { errorNumber: 0 },
    ])
    expect(Buffer.compare(await opened.client.receive(2000), disk.bytes.subarray(HALF - 1000, HALF + 1000))).toBe(0)
  })

  test.each(['structured', 'extended'] as const)(
    'in %s replies tells known zeros and sends the rest',
    async (style) => {
      const disk = await makeDisk()
      await using opened = await openServedClient({ name: 'd', source: disk }, { style })
      const [data, hole] = await opened.client.ask({
        command: NBD_CMD_READ,
        offset: HALF - 70_000,
        length: 140_000,
        cookie: 2n ** 64n - 1n,
      })
      expect(data).toMatchObject({ type: NBD_REPLY_TYPE_OFFSET_DATA, isLast: false, cookie: 2n ** 64n - 1n })
      expect(Number(data?.payload.readBigUInt64BE(0))).toBe(HALF - 70_000)
      expect(data?.payload.subarray(8)).toEqual(Buffer.from(disk.bytes.subarray(HALF - 70_000, HALF)))
      expect(hole).toMatchObject({ type: NBD_REPLY_TYPE_OFFSET_HOLE, isLast: true })
      expect([Number(hole?.payload.readBigUInt64BE(0)), hole?.payload.readUInt32BE(8)]).toEqual([HALF, 70_000])
    },
  )

  test('asked not to fragment comes in one piece, zeros included', async () => {
    const disk = await makeDisk()
    await using opened = await openServedClient({ name: 'd', source: disk }, { style: 'structured' })
    const request = { command: NBD_CMD_READ, flags: NBD_CMD_FLAG_DF, offset: HALF - 70_000, length: 140_000 }
    const chunks = await opened.client.ask(request)
    expect(chunks).toHaveLength(1)
    expect(chunks[0]?.payload.subarray(8)).toEqual(Buffer.from(disk.bytes.subarray(HALF - 70_000, HALF + 70_000)))
  })

  test('of nothing is done without data', async () => {
    await using opened = await openServedClient({ name: 'd', source: await makeDisk() }, { style: 'structured' })
    expect(await opened.client.ask({ command: NBD_CMD_READ, offset: SIZE_BYTES, length: 0 })).toMatchObject([
      { type: NBD_REPLY_TYPE_NONE, errorNumber: 0 },
    ])
  })

  test('that fails says why, and the next one works', async () => {
    const disk = await makeDisk()
    let fails = true
    const source = Object.assign(await makeDisk(), {
      read: async (offsetBytes: number, into: Uint8Array, options: { signal: AbortSignal }) => {
        if (fails) throw new PlatformError('source.read_failed', 'sector 7 is bad')
        await disk.read(offsetBytes, into, options)
      },
    })
    await using opened = await openServedClient({ name: 'd', source }, { style: 'structured' })
    const [chunk] = await opened.client.ask({ command: NBD_CMD_READ, length: 4096 })
    expect(chunk).toMatchObject({ errorNumber: NBD_EIO, isLast: true })
    expect(chunk?.payload.toString('utf8', 6)).toBe('sector 7 is bad')
    fails = false
    expect(await opened.client.ask({ command: NBD_CMD_READ, length: 4096 })).toMatchObject([{ errorNumber: 0 }])
  })

  test('replies come as they are done, not as they were asked', async () => {
    const gate = Promise.withResolvers<void>()
    const disk = await makeDisk()
    const read = disk.read.bind(disk)
    const source = Object.assign(disk, {
      read: async (offsetBytes: number, into: Uint8Array, options: { signal: AbortSignal }) => {
        if (offsetBytes === 0) await gate.promise
        await read(offsetBytes, into, options)
      },
    })
    await using opened = await openServedClient({ name: 'd', source }, { style: 'structured' })
    opened.client.request({ command: NBD_CMD_READ, cookie: 1n, offset: 0, length: 512 })
    opened.client.request({ command: NBD_CMD_READ, cookie: 2n, offset: 4096, length: 512 })
    expect((await opened.client.reply()).cookie).toBe(2n)
    gate.resolve()
    expect((await opened.client.reply()).cookie).toBe(1n)
  })
})

describe('NBD writes', () => {
  test.each(['simple', 'structured', 'extended'] as const)(
    'in %s style are on the disk when answered, whatever their size',
    async (style) => {
      const disk = createMemoryDisk({ sizeBytes: 8 * SIZE_BYTES })
      await using opened = await openServedClient({ name: 'd', source: disk, sink: disk }, { style })
      for (const [index, lengthBytes] of [1, 4095, 70_000, 1024 * 1024, 5_000_000].entries()) {
        const payload = new Uint8Array(lengthBytes).fill(index + 1)
        const replies = await opened.client.ask({ command: NBD_CMD_WRITE, offset: index, payload })
        expect(replies).toMatchObject([{ errorNumber: 0 }])
        expect(Buffer.compare(disk.bytes.subarray(index, index + lengthBytes), payload)).toBe(0)
      }
    },
  )

  test('with FUA are flushed before they are answered, a flush flushes', async () => {
    const disk = await makeDisk()
    const { calls, sink } = noting(disk)
    await using opened = await openServedClient({ name: 'd', source: disk, sink })
    const payload = new Uint8Array(512)
    await opened.client.ask({ command: NBD_CMD_WRITE, payload })
    await opened.client.ask({ command: NBD_CMD_WRITE, payload, flags: NBD_CMD_FLAG_FUA })
    await opened.client.ask({ command: NBD_CMD_WRITE_ZEROES, length: 4096, flags: NBD_CMD_FLAG_FUA })
    await opened.client.ask({ command: NBD_CMD_FLUSH })
    expect(calls).toEqual(['write 0+512', 'write 0+512', 'flush', 'zero 0+4096', 'flush', 'flush'])
  })

  test('a flush on one connection covers what another one wrote', async () => {
    const disk = await makeDisk()
    const { calls, sink } = noting(disk)
    await using opened = await openServedClient({ name: 'd', source: disk, sink })
    await using other = await opened.connect()
    await opened.client.ask({ command: NBD_CMD_WRITE, payload: new Uint8Array(512) })
    await other.ask({ command: NBD_CMD_FLUSH })
    expect(calls).toEqual(['write 0+512', 'flush'])
  })

  test('zeros without a hole are written, others may be a hole', async () => {
    const disk = await makeDisk()
    const { calls, sink } = noting(disk)
    await using opened = await openServedClient({ name: 'd', source: disk, sink })
    await opened.client.ask({ command: NBD_CMD_WRITE_ZEROES, offset: 10, length: 100, flags: NBD_CMD_FLAG_NO_HOLE })
    await opened.client.ask({ command: NBD_CMD_WRITE_ZEROES, offset: 200, length: 100 })
    expect(calls).toEqual(['write 10+100', 'zero 200+100'])
    expect(disk.bytes.subarray(10, 110).every((byte) => byte === 0)).toBe(true)
  })

  test('fast zeros are refused where they are not fast, and change nothing then', async () => {
    const disk = await makeDisk()
    const before = disk.bytes.slice()
    const asked = { command: NBD_CMD_WRITE_ZEROES, length: 4096, flags: NBD_CMD_FLAG_FAST_ZERO }
    await using slow = await openServedClient({ name: 'd', source: disk, sink: disk })
    expect(await slow.client.ask(asked)).toMatchObject([{ errorNumber: NBD_ENOTSUP }])
    const zeroFast = async (offsetBytes: number, lengthBytes: number) => {
      if (lengthBytes > 4096) return false
      await disk.writeZeroes(offsetBytes, lengthBytes, { signal })
      return true
    }
    await using quick = await openServedClient({ name: 'd', source: disk, sink: noting(disk, { zeroFast }).sink })
    expect(await quick.client.ask({ ...asked, length: 8192 })).toMatchObject([{ errorNumber: NBD_ENOTSUP }])
    const noHole = { ...asked, flags: asked.flags | NBD_CMD_FLAG_NO_HOLE }
    expect(await quick.client.ask(noHole)).toMatchObject([{ errorNumber: NBD_ENOTSUP }])
    expect(Buffer.compare(disk.bytes, before)).toBe(0)
    expect(await quick.client.ask(asked)).toMatchObject([{ errorNumber: 0 }])
    expect(disk.bytes.subarray(0, 4096).every((byte) => byte === 0)).toBe(true)
  })

  test('a trim reaches a sink that trims, and is refused by others', async () => {
    const disk = await makeDisk()
    const trims: number[] = []
    const trim = async (offsetBytes: number) => void trims.push(offsetBytes)
    await using able = await openServedClient({ name: 'd', source: disk, sink: noting(disk, { trim }).sink })
    expect(await able.client.ask({ command: NBD_CMD_TRIM, offset: 4096, length: 4096 })).toMatchObject([
      { errorNumber: 0 },
    ])
    expect(trims).toEqual([4096])
    await using unable = await openServedClient({ name: 'd', source: disk, sink: disk })
    expect(await unable.client.ask({ command: NBD_CMD_TRIM, length: 4096 })).toMatchObject([
      { errorNumber: NBD_EINVAL },
    ])
  })

  test.each([
    ['target.no_space', NBD_ENOSPC],
    ['repository.no_space', NBD_ENOSPC],
    ['nbd.read_only', NBD_EPERM],
    ['target.write_failed', NBD_EIO],
  ] as const)('a sink’s %s is error %i', async (code, errorNumber) => {
    const disk = await makeDisk()
    const write = async () => await Promise.reject(new PlatformError(code, 'no'))
    await using opened = await openServedClient({ name: 'd', source: disk, sink: noting(disk, { write }).sink })
    expect(await opened.client.ask({ command: NBD_CMD_WRITE, payload: new Uint8Array(512) })).toMatchObject([
      { errorNumber },
    ])
  })

  test('a read-only export refuses all of them and takes their payload away', async () => {
    await using opened = await openServedClient({ name: 'd', source: await makeDisk() }, { style: 'structured' })
    for (const request of [
      { command: NBD_CMD_WRITE, payload: new Uint8Array(100_000).fill(0x25) },
      { command: NBD_CMD_TRIM, length: 512 },
      { command: NBD_CMD_WRITE_ZEROES, length: 512 },
    ]) {
      expect(await opened.client.ask(request)).toMatchObject([{ errorNumber: NBD_EPERM }])
    }
    expect(await opened.client.ask({ command: NBD_CMD_FLUSH })).toMatchObject([{ errorNumber: 0 }])
    expect(await opened.client.ask({ command: NBD_CMD_READ, length: 512 })).toMatchObject([{ errorNumber: 0 }])
  })

  test('a good-bye is heeded when what was asked before is done, without an answer of its own', async () => {
    const disk = await makeDisk()
    await using opened = await openServedClient({ name: 'd', source: disk, sink: disk })
    opened.client.request({ command: NBD_CMD_WRITE, payload: new Uint8Array(300_000).fill(7) })
    opened.client.request({ command: NBD_CMD_DISC })
    expect(await opened.client.reply()).toMatchObject({ errorNumber: 0 })
    expect(await opened.client.receiveToEnd()).toHaveLength(0)
    expect(disk.bytes.subarray(0, 300_000).every((byte) => byte === 7)).toBe(true)
  })

  test('a client that only listens any more gets the answers it waits for', async () => {
    const disk = await makeDisk()
    await using opened = await openServedClient({ name: 'd', source: disk, sink: disk })
    opened.client.request({ command: NBD_CMD_WRITE, payload: new Uint8Array(300_000).fill(7) })
    opened.client.socket.end()
    expect(await opened.client.reply()).toMatchObject({ errorNumber: 0 })
  })
})

test('NBD CACHE is accepted as a hint, within the disk', async () => {
  await using opened = await openServedClient({ name: 'd', source: await makeDisk() })
  expect(await opened.client.ask({ command: NBD_CMD_CACHE, length: SIZE_BYTES })).toMatchObject([{ errorNumber: 0 }])
  expect(await opened.client.ask({ command: NBD_CMD_CACHE, length: SIZE_BYTES + 1 })).toMatchObject([
    { errorNumber: NBD_EINVAL },
  ])
})

test('an extended write without its payload flag is done all the same, as QEMU sends it', async () => {
  const disk = await makeDisk()
  await using opened = await openServedClient({ name: 'd', source: disk, sink: disk }, { style: 'extended' })
  const asked = { command: NBD_CMD_WRITE, flags: 0, length: 512, payload: new Uint8Array(512).fill(0x77) }
  expect(await opened.client.ask(asked)).toMatchObject([{ errorNumber: 0 }])
  expect(disk.bytes.subarray(0, 512).every((byte) => byte === 0x77)).toBe(true)
  const empty = { command: NBD_CMD_WRITE, flags: NBD_CMD_FLAG_PAYLOAD_LEN, length: 0 }
  expect(await opened.client.ask(empty)).toMatchObject([{ errorNumber: NBD_EINVAL }])
  expect(await opened.client.ask({ command: NBD_CMD_READ, length: 512 })).toMatchObject([{ errorNumber: 0 }])
})

test.each([2n ** 64n - 1n, 2n ** 64n - 512n, 2n ** 53n + 1n])(
  'an extended request at byte %i is refused, and told its own offset',
  async (offset) => {
    const disk = await makeDisk()
    await using opened = await openServedClient({ name: 'd', source: disk, sink: disk }, { style: 'extended' })
    for (const command of [NBD_CMD_READ, NBD_CMD_TRIM, NBD_CMD_CACHE, NBD_CMD_WRITE_ZEROES]) {
      opened.client.request({ command, offset, length: 512 })
      const header = await opened.client.receive(32)
      expect(header.readBigUInt64BE(16)).toBe(offset)
      const payload = await opened.client.receive(Number(header.readBigUInt64BE(24)))
      expect([NBD_EINVAL, NBD_ENOSPC]).toContain(payload.readUInt32BE(0))
    }
  },
)
