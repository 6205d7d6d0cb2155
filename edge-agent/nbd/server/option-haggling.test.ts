import { describe, expect, test } from 'vitest'
import { createMemoryDisk } from '../../block/memory-disk.ts'
import { encodeOption } from '../wire/handshake-options.ts'
import {
  NBD_FLAG_BLOCK_STATUS_PAYLOAD,
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_DF,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STARTTLS,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_EXT_HEADER_REQD,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_TOO_BIG,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
} from '../wire/nbd-constants.ts'
import { infoData, metaContextData, RawNbdClient, u32 } from './raw-nbd-client.ts'
import { openTemporaryNbdServer } from './temporary-nbd-server.ts'

const SIZE_BYTES = 1_000_000
const disk = createMemoryDisk({ sizeBytes: SIZE_BYTES })
const WRITABLE =
  NBD_FLAG_SEND_FLUSH |
  NBD_FLAG_SEND_FUA |
  NBD_FLAG_SEND_WRITE_ZEROES |
  NBD_FLAG_SEND_FAST_ZERO |
  NBD_FLAG_CAN_MULTI_CONN
const ALWAYS = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_CACHE | NBD_FLAG_CAN_MULTI_CONN

async function openServer() {
  return await openTemporaryNbdServer([
    { name: 'disk', description: 'the first', source: disk, sink: disk, dirtyBitmap: 'b0' },
    { name: 'other', source: disk },
  ])
}

async function openHaggling() {
  const server = await openServer()
  const client = await RawNbdClient.connect(server.socketPath)
  await client.greet()
  return Object.assign(client, {
    [Symbol.asyncDispose]: async () => {
      client.socket.destroy()
      await server[Symbol.asyncDispose]()
    },
  })
}

const names = (replies: readonly { type: number; payload: Buffer }[]): string[] =>
  replies.filter(({ type }) => type === NBD_REP_META_CONTEXT).map(({ payload }) => payload.toString('utf8', 4))

describe('NBD option haggling', () => {
  test('greets with both flags', async () => {
    await using server = await openServer()
    await using client = await RawNbdClient.connect(server.socketPath)
    expect((await client.greet()).toString('latin1')).toBe('NBDMAGICIHAVEOPT\0\u0003')
  })

  test('NBD_OPT_EXPORT_NAME answers with size and flags, and zeros where the client did not forgo them', async () => {
    await using server = await openServer()
    for (const [clientFlags, lengthBytes] of [
      [0, 134],
      [1, 134],
      [3, 10],
    ] as const) {
      await using client = await RawNbdClient.connect(server.socketPath)
      await client.greet(clientFlags)
      client.send(encodeOption(NBD_OPT_EXPORT_NAME, Buffer.from('disk')))
      const answer = await client.receive(lengthBytes)
      expect(Number(answer.readBigUInt64BE(0))).toBe(SIZE_BYTES)
      expect(answer.readUInt16BE(8)).toBe(ALWAYS | WRITABLE)
      expect(answer.subarray(10).every((byte) => byte === 0)).toBe(true)
      expect(await client.ask({ command: 0, length: 0 })).toMatchObject([{ kind: 'simple', errorNumber: 0 }])
    }
  })

  test('NBD_OPT_EXPORT_NAME of what is not there ends the connection', async () => {
    await using client = await openHaggling()
    client.send(encodeOption(NBD_OPT_EXPORT_NAME, Buffer.from('none')))
    expect(await client.receiveToEnd()).toHaveLength(0)
  })

  test('NBD_OPT_LIST names every export with its description', async () => {
    await using client = await openHaggling()
    const replies = await client.option(NBD_OPT_LIST)
    expect(replies.map(({ type }) => type)).toEqual([NBD_REP_SERVER, NBD_REP_SERVER, NBD_REP_ACK])
    expect(replies[0]?.payload).toEqual(Buffer.concat([u32(4), Buffer.from('diskthe first')]))
    expect(replies[1]?.payload).toEqual(Buffer.concat([u32(5), Buffer.from('other')]))
  })

  test('NBD_OPT_INFO tells what is asked and does not begin transmission', async () => {
    await using client = await openHaggling()
    const replies = await client.option(NBD_OPT_INFO, infoData('disk', [1, 2, 3, 0, 77]))
    expect(replies.map(({ type }) => type)).toEqual([...Array<number>(4).fill(NBD_REP_INFO), NBD_REP_ACK])
    const infos = new Map(replies.slice(0, 4).map(({ payload }) => [payload.readUInt16BE(0), payload.subarray(2)]))
    expect(infos.get(0)?.readUInt16BE(8)).toBe(ALWAYS | WRITABLE)
    expect(infos.get(1)?.toString()).toBe('disk')
    expect(infos.get(2)?.toString()).toBe('the first')
    expect([0, 4, 8].map((at) => infos.get(3)?.readUInt32BE(at))).toEqual([1, 4096, 2 ** 25])
    expect(await client.option(NBD_OPT_INFO, infoData('none'))).toMatchObject([{ type: NBD_REP_ERR_UNKNOWN }])
  })

  test('flags say what each connection may do', async () => {
    await using server = await openTemporaryNbdServer([
      {
        name: 'disk',
        source: disk,
        sink: Object.assign(createMemoryDisk({ sizeBytes: SIZE_BYTES }), { trim: async () => undefined }),
      },
      { name: 'other', source: disk },
    ])
    const cases = [
      ['disk', 'simple', ALWAYS | WRITABLE | NBD_FLAG_SEND_TRIM],
      ['disk', 'structured', ALWAYS | WRITABLE | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_DF],
      ['other', 'simple', ALWAYS | NBD_FLAG_READ_ONLY],
      ['other', 'extended', ALWAYS | NBD_FLAG_READ_ONLY | NBD_FLAG_SEND_DF],
    ] as const
    for (const [name, style, flags] of cases) {
      await using client = await RawNbdClient.connect(server.socketPath)
      expect(await client.go(name, { style })).toEqual({ sizeBytes: SIZE_BYTES, flags })
    }
    await using client = await RawNbdClient.connect(server.socketPath)
    const { flags } = await client.go('other', { style: 'extended', contexts: ['base:allocation'] })
    expect(flags & NBD_FLAG_BLOCK_STATUS_PAYLOAD).not.toBe(0)
  })

  test('the empty name is a sole export’s, and nobody’s among several', async () => {
    await using several = await openHaggling()
    expect(await several.option(NBD_OPT_GO, infoData(''))).toMatchObject([{ type: NBD_REP_ERR_UNKNOWN }])
    await using server = await openTemporaryNbdServer([{ name: 'sole', source: disk }])
    await using client = await RawNbdClient.connect(server.socketPath)
    await client.greet()
    const replies = await client.option(NBD_OPT_INFO, infoData('', [1]))
    expect(replies.map(({ payload }) => payload.toString('utf8', 2))).toContain('sole')
  })

  test('contexts are listed by wildcard and chosen by name only', async () => {
    await using client = await openHaggling()
    const list = async (...queries: string[]) =>
      names(await client.option(NBD_OPT_LIST_META_CONTEXT, metaContextData('disk', queries)))
    const set = async (...queries: string[]) =>
      names(await client.option(NBD_OPT_SET_META_CONTEXT, metaContextData('disk', queries)))
    await client.option(NBD_OPT_STRUCTURED_REPLY)
    const [allocation, bitmap] = ['base:allocation', 'qemu:dirty-bitmap:b0']
    expect(await list()).toEqual([allocation, bitmap])
    expect(await list('base:')).toEqual([allocation])
    expect(await list('qemu:')).toEqual([bitmap])
    expect(await list('qemu:dirty-bitmap:', bitmap)).toEqual([bitmap])
    expect(await list('x-unknown:', 'base:other', 'base')).toEqual([])
    expect(await set('base:', 'qemu:')).toEqual([])
    expect(await set(bitmap, allocation, bitmap)).toEqual([allocation, bitmap])
    expect(await set()).toEqual([])
  })

  test('contexts need structured replies and an export that is there', async () => {
    await using client = await openHaggling()
    const data = metaContextData('disk', ['base:allocation'])
    for (const option of [NBD_OPT_LIST_META_CONTEXT, NBD_OPT_SET_META_CONTEXT]) {
      expect(await client.option(option, data)).toMatchObject([{ type: NBD_REP_ERR_INVALID }])
    }
    await client.option(NBD_OPT_STRUCTURED_REPLY)
    for (const option of [NBD_OPT_LIST_META_CONTEXT, NBD_OPT_SET_META_CONTEXT]) {
      const replies = await client.option(option, metaContextData('none', ['base:allocation']))
      expect(replies).toMatchObject([{ type: NBD_REP_ERR_UNKNOWN }])
    }
  })

  test.each([
    [
      'chosen for another export',
      async (client: RawNbdClient) =>
        await client.option(NBD_OPT_SET_META_CONTEXT, metaContextData('other', ['base:allocation'])),
    ],
    [
      'chosen, then chosen again in vain',
      async (client: RawNbdClient) => {
        await client.option(NBD_OPT_SET_META_CONTEXT, metaContextData('disk', ['base:allocation']))
        await client.option(NBD_OPT_SET_META_CONTEXT, metaContextData('none', ['base:allocation']))
      },
    ],
  ])('contexts %s are not there in transmission', async (_, choose) => {
    await using client = await openHaggling()
    await client.option(NBD_OPT_STRUCTURED_REPLY)
    await choose(client)
    await client.option(NBD_OPT_GO, infoData('disk'))
    expect(await client.ask({ command: 7, length: 4096 })).toMatchObject([{ errorNumber: 22 }])
  })

  test('extended headers take precedence over structured replies', async () => {
    await using client = await openHaggling()
    expect(await client.option(NBD_OPT_STRUCTURED_REPLY)).toMatchObject([{ type: NBD_REP_ACK }])
    expect(await client.option(NBD_OPT_EXTENDED_HEADERS)).toMatchObject([{ type: NBD_REP_ACK }])
    expect(await client.option(NBD_OPT_STRUCTURED_REPLY)).toMatchObject([{ type: NBD_REP_ERR_EXT_HEADER_REQD }])
  })

  test('NBD_OPT_ABORT is acknowledged, whatever it carries, and ends the connection', async () => {
    await using client = await openHaggling()
    expect(await client.option(NBD_OPT_ABORT, Buffer.from('bye'))).toEqual([
      { type: NBD_REP_ACK, payload: Buffer.alloc(0) },
    ])
    expect(await client.receiveToEnd()).toHaveLength(0)
  })

  test('what is unknown, malformed or too long is refused and the haggling goes on', async () => {
    await using client = await openHaggling()
    const tooMany = metaContextData(
      'disk',
      Array.from({ length: 1000 }, () => 'base:allocation'),
    )
    const refused = [
      [4, Buffer.alloc(0), NBD_REP_ERR_UNSUP],
      [2 ** 32 - 1, Buffer.alloc(100), NBD_REP_ERR_UNSUP],
      [NBD_OPT_STARTTLS, Buffer.alloc(0), NBD_REP_ERR_POLICY],
      [NBD_OPT_LIST, Buffer.alloc(1), NBD_REP_ERR_INVALID],
      [NBD_OPT_STRUCTURED_REPLY, Buffer.alloc(1), NBD_REP_ERR_INVALID],
      [NBD_OPT_EXTENDED_HEADERS, Buffer.alloc(1), NBD_REP_ERR_INVALID],
      [NBD_OPT_GO, Buffer.alloc(0), NBD_REP_ERR_INVALID],
      [NBD_OPT_GO, infoData('disk').subarray(0, -1), NBD_REP_ERR_INVALID],
      [NBD_OPT_GO, Buffer.concat([u32(2 ** 31), Buffer.from('disk')]), NBD_REP_ERR_INVALID],
      [NBD_OPT_INFO, Buffer.concat([infoData('disk'), Buffer.alloc(1)]), NBD_REP_ERR_INVALID],
      [NBD_OPT_INFO, infoData('x'.repeat(4097)), NBD_REP_ERR_INVALID],
      [NBD_OPT_LIST_META_CONTEXT, Buffer.concat([metaContextData('disk', ['a:b']), u32(1)]), NBD_REP_ERR_INVALID],
      [NBD_OPT_LIST_META_CONTEXT, tooMany, NBD_REP_ERR_TOO_BIG],
      [NBD_OPT_GO, Buffer.alloc(1024 * 1024), NBD_REP_ERR_TOO_BIG],
    ] as const
    await client.option(NBD_OPT_STRUCTURED_REPLY)
    for (const [option, data, type] of refused) {
      expect(await client.option(option, data), `option ${option}`).toMatchObject([{ type }])
    }
    expect((await client.option(NBD_OPT_GO, infoData('disk'))).at(-1)).toMatchObject({ type: NBD_REP_ACK })
  })
})
