import type { Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import {
  NBD_CMD_CACHE,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EIO,
  NBD_ENOTSUP,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
} from '../wire/nbd-constants.ts'
import { lazyNbdSink, lazyNbdSource } from './lazy-nbd-disk.ts'
import { type NbdSink, openNbdSink } from './nbd-sink.ts'
import { openNbdSource } from './nbd-source.ts'
import {
  chunk,
  extendedChunk,
  type ScriptedRequest,
  type ScriptedServerOptions,
  simpleReply,
  startScriptedServer,
  u16,
  u32,
  u64,
} from './scripted-nbd-server.ts'

const signal = AbortSignal.timeout(60_000)
const MIB = 1024 * 1024
const GIB = 1024 * MIB
const BASIC = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_WRITE_ZEROES
const ALL = BASIC | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_CACHE | NBD_FLAG_SEND_FAST_ZERO

interface Seen {
  readonly command: number
  readonly flags: number
  readonly at: number
  readonly length: number
}

/** A sink on a server that says yes to everything that `refuse` has no error number for; `seen` is what it was sent. */
async function openSink(
  script: ScriptedServerOptions,
  refuse: (request: ScriptedRequest) => number = () => 0,
): Promise<AsyncDisposable & { readonly sink: NbdSink; readonly seen: Seen[] }> {
  const seen: Seen[] = []
  const server = await startScriptedServer({
    ...script,
    onRequest: (request, socket) => {
      const { command, commandFlags: flags, offsetBytes: at, lengthBytes: length } = request
      seen.push({ command, flags, at, length })
      answer(request, refuse(request), socket, script.replyStyle === 'extended')
    },
  })
  const sink = await openNbdSink(server.endpoint, { signal })
  const dispose = async (): Promise<void> => {
    await sink[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  }
  return { sink, seen, [Symbol.asyncDispose]: dispose }
}

/** Of a server that is not quick. */
function refuseFastZero({ commandFlags }: ScriptedRequest): number {
  return (commandFlags & NBD_CMD_FLAG_FAST_ZERO) === 0 ? 0 : NBD_ENOTSUP
}

function answer(request: ScriptedRequest, errorNumber: number, socket: Socket, isExtended: boolean): void {
  if (request.command === NBD_CMD_READ) {
    const payload = Buffer.concat([u64(BigInt(request.offsetBytes)), Buffer.alloc(request.lengthBytes)])
    socket.write(chunk(request.cookie, NBD_REPLY_TYPE_OFFSET_DATA, payload))
  } else if (!isExtended) {
    socket.write(simpleReply(request.cookie, errorNumber))
  } else if (errorNumber === 0) {
    socket.write(extendedChunk(request, NBD_REPLY_TYPE_NONE, Buffer.alloc(0)))
  } else {
    socket.write(extendedChunk(request, NBD_REPLY_TYPE_ERROR, Buffer.concat([u32(errorNumber), u16(0)])))
  }
}

describe('writes that are durable when they settle', () => {
  test('carry FUA where the server knows it, parts of blocks too', async () => {
    await using opened = await openSink({ flags: ALL, blockSizes: [512, 4096, MIB] })
    await opened.sink.write(100, new Uint8Array(1000), { signal, fua: true })
    await opened.sink.writeZeroes(512, 1024, { signal, fua: true })
    await opened.sink.trim(4096, 512, { signal, fua: true })
    const writing = opened.seen.filter(({ command }) => command !== NBD_CMD_READ)
    expect(writing).toEqual([
      { command: NBD_CMD_WRITE, flags: NBD_CMD_FLAG_FUA, at: 0, length: 512 },
      { command: NBD_CMD_WRITE, flags: NBD_CMD_FLAG_FUA, at: 512, length: 512 },
      { command: NBD_CMD_WRITE, flags: NBD_CMD_FLAG_FUA, at: 1024, length: 512 },
      { command: NBD_CMD_WRITE_ZEROES, flags: NBD_CMD_FLAG_FUA, at: 512, length: 1024 },
      { command: NBD_CMD_TRIM, flags: NBD_CMD_FLAG_FUA, at: 4096, length: 512 },
    ])
  })

  test('are followed by a flush where it does not', async () => {
    await using opened = await openSink({ flags: BASIC })
    await opened.sink.write(0, new Uint8Array(512), { signal, fua: true })
    await opened.sink.writeZeroes(0, 512, { signal, fua: true })
    await opened.sink.write(0, new Uint8Array(512), { signal })
    expect(opened.seen.map(({ command, flags }) => [command, flags])).toEqual([
      [NBD_CMD_WRITE, 0],
      [NBD_CMD_FLUSH, 0],
      [NBD_CMD_WRITE_ZEROES, 0],
      [NBD_CMD_FLUSH, 0],
      [NBD_CMD_WRITE, 0],
    ])
  })
})

describe('zeros', () => {
  test('that keep their place on the storage say so', async () => {
    await using opened = await openSink({ flags: ALL })
    await opened.sink.writeZeroes(0, 4096, { signal, noHole: true })
    expect(opened.seen).toEqual([{ command: NBD_CMD_WRITE_ZEROES, flags: NBD_CMD_FLAG_NO_HOLE, at: 0, length: 4096 }])
  })

  test('of a large disk are few requests with extended headers, where the server is quick', async () => {
    await using opened = await openSink({ flags: ALL, sizeBytes: 150 * GIB, replyStyle: 'extended' })
    expect(await opened.sink.zeroFast(0, 150 * GIB, { signal })).toBe(true)
    const quick = { command: NBD_CMD_WRITE_ZEROES, flags: NBD_CMD_FLAG_FAST_ZERO }
    const three = [
      { ...quick, at: 0, length: 64 * GIB },
      { ...quick, at: 64 * GIB, length: 64 * GIB },
      { ...quick, at: 128 * GIB, length: 22 * GIB },
    ]
    expect(opened.seen).toEqual(three)
    await opened.sink.writeZeroes(0, 150 * GIB, { signal })
    expect(opened.seen).toEqual([...three, ...three])
  })

  test('are several requests without extended headers, each as long as 32 bits can say', async () => {
    await using opened = await openSink({ flags: ALL, sizeBytes: 9 * GIB })
    expect(await opened.sink.zeroFast(0, 9 * GIB, { signal })).toBe(true)
    expect(opened.seen.map(({ length }) => length)).toEqual([4 * GIB - 65_536, 4 * GIB - 65_536, GIB + 131_072])
  })

  test('are written in pieces where the server is not quick, and zeroFast says that it is not', async () => {
    await using opened = await openSink({ flags: ALL, sizeBytes: GIB }, refuseFastZero)
    expect(await opened.sink.zeroFast(0, GIB, { signal })).toBe(false)
    expect(opened.seen).toHaveLength(1)
    await opened.sink.writeZeroes(0, GIB, { signal, noHole: true })
    const [question, ...pieces] = opened.seen.slice(1)
    expect(question?.flags).toBe(NBD_CMD_FLAG_FAST_ZERO | NBD_CMD_FLAG_NO_HOLE)
    expect(pieces.map(({ flags, length }) => [flags, length])).toEqual(
      Array.from({ length: 8 }, () => [NBD_CMD_FLAG_NO_HOLE, 128 * MIB]),
    )
  })

  test('are not asked for quickly where nothing is known of it', async () => {
    await using opened = await openSink({ flags: BASIC, sizeBytes: GIB, blockSizes: [512, 4096, MIB] })
    expect(await opened.sink.zeroFast(0, GIB, { signal })).toBe(false)
    expect(opened.seen).toEqual([])
    await using quick = await openSink({ flags: ALL, sizeBytes: GIB, blockSizes: [512, 4096, MIB] })
    expect(await quick.sink.zeroFast(1, 5000, { signal })).toBe(false)
    expect(quick.seen).toEqual([])
  })

  test('that fail otherwise are target.write_failed, quick or not', async () => {
    await using opened = await openSink({ flags: ALL, sizeBytes: GIB }, () => NBD_EIO)
    await expect(opened.sink.zeroFast(0, GIB, { signal })).rejects.toMatchObject({ code: 'target.write_failed' })
    await expect(opened.sink.writeZeroes(0, GIB, { signal })).rejects.toMatchObject({ code: 'target.write_failed' })
  })
})

describe('hints', () => {
  test('to read ahead are given where the server takes them, and their failure is none', async () => {
    const seen: number[] = []
    await using server = await startScriptedServer({
      flags: ALL,
      sizeBytes: GIB,
      onRequest: ({ command, cookie, lengthBytes }, socket) => {
        if (command === NBD_CMD_CACHE) seen.push(lengthBytes)
        socket.write(simpleReply(cookie, NBD_EIO))
      },
    })
    await using source = await openNbdSource(server.endpoint, { signal })
    await source.cache({ offsetBytes: 0, lengthBytes: 200 * MIB }, { signal })
    expect(seen).toEqual([128 * MIB, 72 * MIB])
    const outside = source.cache({ offsetBytes: GIB, lengthBytes: 1 }, { signal })
    await expect(outside).rejects.toMatchObject({ code: 'input.invalid' })
  })

  test('are not given to others', async () => {
    const seen: number[] = []
    await using server = await startScriptedServer({
      flags: BASIC,
      onRequest: ({ command }) => void seen.push(command),
    })
    await using source = await openNbdSource(server.endpoint, { signal })
    await source.cache({ offsetBytes: 0, lengthBytes: 4096 }, { signal })
    expect(seen).toEqual([])
  })
})

test('a disk that connects at its first use passes all of it on', async () => {
  const seen: Seen[] = []
  await using server = await startScriptedServer({
    flags: ALL,
    onRequest: (request, socket) => {
      const { command, commandFlags: flags, offsetBytes: at, lengthBytes: length } = request
      seen.push({ command, flags, at, length })
      answer(request, 0, socket, false)
    },
  })
  const { endpoint } = server
  await using sink = lazyNbdSink({ endpoint, sizeBytes: MIB })
  await using source = lazyNbdSource({ endpoint, sizeBytes: MIB })
  await sink.write(0, new Uint8Array(512), { signal, fua: true })
  await sink.writeZeroes(0, 512, { signal, noHole: true })
  expect(await sink.zeroFast(0, 1024, { signal })).toBe(true)
  await sink.trim(0, 512, { signal, fua: true })
  await source.cache({ offsetBytes: 512, lengthBytes: 512 }, { signal })
  expect(seen).toEqual([
    { command: NBD_CMD_WRITE, flags: NBD_CMD_FLAG_FUA, at: 0, length: 512 },
    { command: NBD_CMD_WRITE_ZEROES, flags: NBD_CMD_FLAG_NO_HOLE, at: 0, length: 512 },
    { command: NBD_CMD_WRITE_ZEROES, flags: NBD_CMD_FLAG_FAST_ZERO, at: 0, length: 1024 },
    { command: NBD_CMD_TRIM, flags: NBD_CMD_FLAG_FUA, at: 0, length: 512 },
    { command: NBD_CMD_CACHE, flags: 0, at: 512, length: 512 },
  ])
})
