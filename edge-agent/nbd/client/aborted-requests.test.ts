import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import {
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_FLAG_HAS_FLAGS,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
} from '../wire/nbd-constants.ts'
import { openNbdConnection } from './nbd-connection.ts'
import { openNbdSource } from './nbd-source.ts'
import { chunk, type ScriptedRequest, startScriptedServer, u64 } from './scripted-nbd-server.ts'

const signal = AbortSignal.timeout(60_000)

function data(request: ScriptedRequest, start: number, bytes: Buffer): Buffer {
  const payload = Buffer.concat([u64(BigInt(request.offsetBytes + start)), bytes])
  return chunk(request.cookie, NBD_REPLY_TYPE_OFFSET_DATA, payload)
}

describe('a caller that aborts', () => {
  test('an aborted read is answered at once, its late reply touches nothing, and the connection works on', async () => {
    let late: (() => void) | undefined
    await using server = await startScriptedServer({
      onRequest: (request, socket) => {
        const answer = (): boolean => socket.write(data(request, 0, Buffer.alloc(512, 9)))
        if (late === undefined) late = answer
        else answer()
      },
    })
    await using source = await openNbdSource(server.endpoint, { signal })
    const control = new AbortController()
    const abandoned = new Uint8Array(512)
    const read = source.read(0, abandoned, { signal: control.signal })
    await source.read(512, new Uint8Array(512), { signal })
    control.abort(new Error('enough'))
    await expect(read).rejects.toThrow('enough')
    late?.()
    await source.read(1024, new Uint8Array(512), { signal })
    expect(abandoned.every((byte) => byte === 0)).toBe(true)
  })

  test('a read aborted while its data arrives is answered after the next piece, and nothing is written to it later', async () => {
    const control = new AbortController()
    let next: (() => void) | undefined
    let last: Buffer | undefined
    await using server = await startScriptedServer({
      onRequest: (request, socket) => {
        const reply = data(request, 0, Buffer.alloc(512, 9))
        if (request.offsetBytes > 0) {
          socket.write(Buffer.concat([last ?? Buffer.alloc(0), reply]))
          return
        }
        socket.write(reply.subarray(0, 128))
        next = () => socket.write(reply.subarray(128, 140))
        last = reply.subarray(140)
      },
    })
    await using source = await openNbdSource(server.endpoint, { signal })
    const abandoned = new Uint8Array(512)
    const read = source.read(0, abandoned, { signal: control.signal })
    while (!abandoned.includes(9)) await nextTurn()
    control.abort(new Error('enough'))
    next?.()
    await expect(read).rejects.toThrow('enough')
    const settled = abandoned.slice()
    await source.read(512, new Uint8Array(512), { signal })
    expect(abandoned).toEqual(settled)
    expect(abandoned[511]).toBe(0)
  })

  test('a read whose connection is closed while its data arrives is answered after the next piece, and not written to later', async () => {
    let next: (() => void) | undefined
    let last: (() => void) | undefined
    await using server = await startScriptedServer({
      onRequest: (request, socket) => {
        const reply = data(request, 0, Buffer.alloc(512, 9))
        socket.write(reply.subarray(0, 128))
        next = () => socket.write(reply.subarray(128, 140))
        last = () => socket.write(reply.subarray(140))
      },
    })
    const connection = await openNbdConnection(server.endpoint, { signal })
    const into = new Uint8Array(512)
    const read = connection.request({ command: NBD_CMD_READ, offsetBytes: 0, lengthBytes: 512, into, signal })
    read.catch(() => undefined)
    while (!into.includes(9)) await nextTurn()
    const arrived = into.slice()
    const closing = connection[Symbol.asyncDispose]()
    await nextTurn()
    next?.()
    await expect(read).rejects.toMatchObject({ code: 'nbd.disconnected' })
    const settled = into.slice()
    expect(settled).not.toEqual(arrived)
    last?.()
    await closing
    expect(into).toEqual(settled)
  })

  test('a read aborted in the middle of a reply that never goes on gives the connection up', async () => {
    const control = new AbortController()
    await using server = await startScriptedServer({
      onRequest: (request, socket) => {
        if (request.offsetBytes === 0) socket.write(data(request, 0, Buffer.alloc(512, 9)).subarray(0, 128))
      },
    })
    await using source = await openNbdSource(server.endpoint, { signal })
    const abandoned = new Uint8Array(512)
    const read = source.read(0, abandoned, { signal: control.signal })
    const other = source.read(512, new Uint8Array(512), { signal })
    while (!abandoned.includes(9)) await nextTurn()
    control.abort(new Error('enough'))
    await expect(read).rejects.toThrow('enough')
    await expect(other).rejects.toMatchObject({ code: 'nbd.disconnected' })
  })

  test('a write aborted while its bytes cannot leave is answered soon, though the server lives and talks', async () => {
    let piecesSent = 0
    await using server = await startScriptedServer({
      flags: NBD_FLAG_HAS_FLAGS,
      onRequest: (request, socket) => {
        // It reads no more, and answers a read in pieces that keep the connection from being idle.
        socket.pause()
        const reply = data(request, 0, Buffer.alloc(512, 9))
        const trickle = setInterval(() => {
          socket.write(reply.subarray(piecesSent, piecesSent + 1))
          piecesSent += 1
        }, 20)
        socket.once('close', () => clearInterval(trickle))
      },
    })
    await using connection = await openNbdConnection(server.endpoint, { signal, idleTimeoutMs: 1200 })
    const into = new Uint8Array(512)
    const read = connection.request({ command: NBD_CMD_READ, offsetBytes: 0, lengthBytes: 512, into, signal })
    await expect.poll(() => piecesSent).toBeGreaterThan(1)
    const control = new AbortController()
    const payload = Buffer.alloc(1024 * 1024)
    const range = { offsetBytes: 0, lengthBytes: payload.length }
    const write = connection.request({ command: NBD_CMD_WRITE, ...range, payload, signal: control.signal })
    control.abort(new Error('enough'))
    const lost = { reason: { code: 'nbd.disconnected' } }
    expect(await Promise.allSettled([write, read])).toMatchObject([lost, lost])
    expect(piecesSent).toBeLessThan(500)
  })

  test('requests that wait for their turn are dropped when aborted', async () => {
    const seen: number[] = []
    await using server = await startScriptedServer({
      onRequest: (request, socket) => {
        seen.push(request.offsetBytes)
        if (seen.length === 16) control.abort(new Error('enough'))
        if (seen.length > 16) socket.write(data(request, 0, Buffer.alloc(512)))
      },
    })
    const control = new AbortController()
    await using connection = await openNbdConnection(server.endpoint, { signal, idleTimeoutMs: 1000 })
    const requests = Array.from({ length: 40 }, async (_, index) => {
      const read = {
        command: NBD_CMD_READ,
        offsetBytes: index * 512,
        lengthBytes: 512,
        into: new Uint8Array(512),
      } as const
      await connection.request({ ...read, signal: control.signal })
    })
    for (const request of requests) await expect(request).rejects.toThrow('enough')
    expect(seen).toHaveLength(16)
  })
})

test("a write that is answered before its bytes left is over when they have, and its buffer is the caller's then", async () => {
  let server: { readonly answer: () => void; readonly takeOn: () => void } | undefined
  const payload = Buffer.alloc(8 * 1024 * 1024)
  await using scripted = await startScriptedServer({
    sizeBytes: payload.length,
    flags: NBD_FLAG_HAS_FLAGS,
    onRequest: (request, socket) => {
      if (request.command !== NBD_CMD_READ) return
      socket.pause()
      const ofTheNext = chunk(request.cookie + 1n, NBD_REPLY_TYPE_NONE, Buffer.alloc(0))
      server = {
        answer: () => socket.write(Buffer.concat([ofTheNext, data(request, 0, Buffer.alloc(512, 9))])),
        takeOn: () => socket.resume(),
      }
    },
  })
  await using connection = await openNbdConnection(scripted.endpoint, { signal })
  const into = new Uint8Array(512)
  const read = connection.request({ command: NBD_CMD_READ, offsetBytes: 0, lengthBytes: 512, into, signal })
  await expect.poll(() => server).toBeDefined()
  const range = { offsetBytes: 0, lengthBytes: payload.length }
  let isWritten = false
  const write = connection
    .request({ command: NBD_CMD_WRITE, ...range, payload, signal })
    .finally(() => void (isWritten = true))
  await nextTurn()
  server?.answer()
  await read
  for (let turn = 0; turn < 20; turn += 1) await nextTurn()
  expect(isWritten).toBe(false)
  server?.takeOn()
  await write
})
