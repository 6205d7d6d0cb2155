import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { createMemoryDisk } from '../../block/memory-disk.ts'
import { openNbdSource } from '../client/nbd-source.ts'
import {
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_ESHUTDOWN,
  NBD_OPT_ABORT,
  NBD_OPT_LIST,
  NBD_REP_ACK,
  NBD_REP_ERR_SHUTDOWN,
} from '../wire/nbd-constants.ts'
import { NbdServer } from './nbd-server.ts'
import { RawNbdClient } from './raw-nbd-client.ts'
import { openTemporaryNbdServer } from './temporary-nbd-server.ts'

const SIZE_BYTES = 1024 * 1024
const signal = AbortSignal.timeout(120_000)

/** A disk whose reads wait until they are let go, and that knows who touches it. */
function gatedDisk() {
  const disk = createMemoryDisk({ sizeBytes: SIZE_BYTES })
  const gate = Promise.withResolvers<void>()
  const state = { reading: 0, reads: 0, reason: undefined as unknown }
  const read = async (_offsetBytes: number, into: Uint8Array, options: { signal: AbortSignal }): Promise<void> => {
    state.reading += 1
    state.reads += 1
    const aborted = new Promise<never>((_, reject) => {
      options.signal.addEventListener('abort', () => reject(options.signal.reason), { once: true })
    })
    try {
      await Promise.race([gate.promise, aborted])
      into.fill(9)
    } catch (error) {
      state.reason = error
      throw error
    } finally {
      state.reading -= 1
    }
  }
  return { source: Object.assign(disk, { read }), state, open: () => gate.resolve() }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise<void>((resolve) => setTimeout(resolve, 1))
}

async function makeDir() {
  const dir = await mkdtemp(join(tmpdir(), 'nbd-listen-'))
  return { dir, [Symbol.asyncDispose]: async () => await rm(dir, { recursive: true, force: true }) }
}

describe('removing an export', () => {
  test('finishes what was begun, refuses what comes, ends its connections and leaves others alone', async () => {
    const { source, state, open } = gatedDisk()
    const other = createMemoryDisk({ sizeBytes: SIZE_BYTES })
    await using server = await openTemporaryNbdServer([
      { name: 'd', source },
      { name: 'other', source: other },
    ])
    await using client = await RawNbdClient.connect(server.socketPath)
    await client.go('d', { style: 'structured' })
    await using bystander = await RawNbdClient.connect(server.socketPath)
    await bystander.go('other')
    client.request({ command: NBD_CMD_READ, cookie: 1n, length: 4096 })
    await until(() => state.reading === 1)
    const removed = server.server.removeExport('d')
    client.request({ command: NBD_CMD_READ, cookie: 2n, length: 4096 })
    expect(await client.reply()).toMatchObject({ cookie: 2n, errorNumber: NBD_ESHUTDOWN })
    open()
    expect(await client.reply()).toMatchObject({ cookie: 1n, errorNumber: 0 })
    expect(await client.receiveToEnd()).toHaveLength(0)
    client.socket.destroy()
    await removed
    expect(state).toMatchObject({ reading: 0, reads: 1 })
    expect(await bystander.ask({ command: NBD_CMD_FLUSH })).toMatchObject([{ errorNumber: 0 }])
    await expect(openNbdSource(server.endpoint('d'), { signal })).rejects.toMatchObject({
      code: 'nbd.export_not_found',
    })
  })

  test('gives up what takes too long, and resolves only when the disk is touched no more', async () => {
    const { source, state } = gatedDisk()
    await using server = await openTemporaryNbdServer([{ name: 'd', source }], { drainTimeoutMs: 30 })
    await using client = await RawNbdClient.connect(server.socketPath)
    await client.go('d')
    client.request({ command: NBD_CMD_READ, length: 4096 })
    await until(() => state.reading === 1)
    await server.server.removeExport('d')
    expect(state.reading).toBe(0)
    expect(state.reason).toMatchObject({ code: 'nbd.disconnected' })
  })

  test('in the very moment that a client enters it refuses whatever that client asks', async () => {
    const { source, state, open } = gatedDisk()
    open()
    const { sizeBytes } = source
    await using server = await openTemporaryNbdServer([{ name: 'd', source }])
    let removed: Promise<void> | undefined
    Object.defineProperty(source, 'sizeBytes', {
      get: () => {
        removed ??= server.server.removeExport('d')
        return sizeBytes
      },
    })
    await using client = await RawNbdClient.connect(server.socketPath)
    await client.go('d')
    client.request({ command: NBD_CMD_READ, length: 4096 })
    expect(await client.receiveToEnd()).toHaveLength(0)
    await removed
    expect(state.reads).toBe(0)
  })

  test('frees its name for another disk', async () => {
    await using server = await openTemporaryNbdServer([{ name: 'd', source: createMemoryDisk({ sizeBytes: 4096 }) }])
    await server.server.removeExport('d')
    await server.server.removeExport('d')
    server.server.addExport({ name: 'd', source: createMemoryDisk({ sizeBytes: 8192 }) })
    await using source = await openNbdSource(server.endpoint('d'), { signal })
    expect(source.sizeBytes).toBe(8192)
  })
})

describe('an export that cannot be offered', () => {
  const source = createMemoryDisk({ sizeBytes: SIZE_BYTES })
  const blockSizes = { minimumBytes: 512, preferredBytes: 4096, maximumBytes: 65_536 }
  const wrong = {
    'of a name that is too long': { name: 'x'.repeat(4097), source },
    'of a name with a NUL': { name: 'a\0b', source },
    'of a name that is there': { name: 'd', source },
    'described at length': { name: 'e', source, description: 'ä'.repeat(2049) },
    'of two sizes': { name: 'e', source, sink: createMemoryDisk({ sizeBytes: 512 }) },
    'with blocks of 3 bytes': { name: 'e', source, blockSizes: { ...blockSizes, minimumBytes: 3 } },
    'with blocks of 128 KiB': { name: 'e', source, blockSizes: { ...blockSizes, minimumBytes: 131_072 } },
    'with payloads of 33 MiB': { name: 'e', source, blockSizes: { ...blockSizes, maximumBytes: 33 * 2 ** 20 } },
    'of half a block': { name: 'e', source: createMemoryDisk({ sizeBytes: 700 }), blockSizes },
  }

  test.each(Object.entries(wrong))('%s is input.invalid', async (_, options) => {
    await using server = new NbdServer({ tls: 'off' })
    server.addExport({ name: 'd', source })
    expect(() => server.addExport(options)).toThrow(expect.objectContaining({ code: 'input.invalid' }))
  })
})

describe('a server that ends', () => {
  test('tells clients in the handshake, and does not wait for silent ones', async () => {
    await using server = await openTemporaryNbdServer([{ name: 'd', source: createMemoryDisk({ sizeBytes: 4096 }) }])
    await using polite = await RawNbdClient.connect(server.socketPath)
    await using silent = await RawNbdClient.connect(server.socketPath)
    await polite.greet()
    await silent.greet()
    await polite.option(NBD_OPT_LIST)
    const closed = server.server[Symbol.asyncDispose]()
    expect(await polite.option(NBD_OPT_LIST)).toMatchObject([{ type: NBD_REP_ERR_SHUTDOWN }])
    expect(await polite.option(NBD_OPT_ABORT)).toMatchObject([{ type: NBD_REP_ACK }])
    await closed
    expect(await silent.receiveToEnd()).toHaveLength(0)
  })

  test('takes its socket away and accepts nobody', async () => {
    const server = await openTemporaryNbdServer([{ name: 'd', source: createMemoryDisk({ sizeBytes: 4096 }) }])
    await server.server[Symbol.asyncDispose]()
    await expect(stat(server.socketPath)).rejects.toMatchObject({ code: 'ENOENT' })
    await server[Symbol.asyncDispose]()
  })
})

test('an idle client is given up where that is asked for, one that waits for an answer is not', async () => {
  const { source, state, open } = gatedDisk()
  await using server = await openTemporaryNbdServer([{ name: 'd', source }], { idleTimeoutMs: 40 })
  await using idle = await RawNbdClient.connect(server.socketPath)
  await idle.go('d')
  await using waiting = await RawNbdClient.connect(server.socketPath)
  await waiting.go('d')
  waiting.request({ command: NBD_CMD_READ, length: 4096 })
  expect(await idle.receiveToEnd()).toHaveLength(0)
  await new Promise<void>((resolve) => setTimeout(resolve, 120))
  expect(state.reading).toBe(1)
  open()
  expect(await waiting.reply()).toMatchObject({ errorNumber: 0 })
})

describe('listening', () => {
  const exports = [{ name: 'd', source: createMemoryDisk({ sizeBytes: 4096 }) }]

  test('on a unix socket lets nobody else in', async () => {
    await using server = await openTemporaryNbdServer(exports)
    expect(((await stat(server.socketPath)).mode & 0o777).toString(8)).toBe('600')
  })

  test('takes the place of a socket that nobody listens on, not of one in use or of a file', async () => {
    await using tmp = await makeDir()
    const path = join(tmp.dir, 's')
    await using first = new NbdServer({ tls: 'off' })
    await using second = new NbdServer({ tls: 'off' })
    await first.listen({ transport: 'unix', path })
    await expect(second.listen({ transport: 'unix', path })).rejects.toMatchObject({ code: 'nbd.listen_failed' })
    await using client = await RawNbdClient.connect(path)
    await client.greet()

    const dead = join(tmp.dir, 'dead')
    await leaveDeadSocket(dead)
    await second.listen({ transport: 'unix', path: dead })
    await using other = await RawNbdClient.connect(dead)
    await other.greet()

    const file = join(tmp.dir, 'file')
    await writeFile(file, 'precious')
    await expect(second.listen({ transport: 'unix', path: file })).rejects.toMatchObject({ code: 'nbd.listen_failed' })
    expect(await readFile(file, 'utf8')).toBe('precious')
  })

  test('says what is wrong with an address', async () => {
    await using tmp = await makeDir()
    await using server = new NbdServer({ tls: 'off' })
    const long = join(tmp.dir, 'x'.repeat(100))
    await expect(server.listen({ transport: 'unix', path: long })).rejects.toMatchObject({ code: 'input.invalid' })
    const missing = { transport: 'unix', path: join(tmp.dir, 'no', 's') } as const
    await expect(server.listen(missing)).rejects.toMatchObject({ code: 'nbd.listen_failed' })
    const port = await server.listen({ transport: 'tcp', host: '127.0.0.1', port: 0 })
    await using second = new NbdServer({ tls: 'off' })
    await expect(second.listen(port)).rejects.toMatchObject({ code: 'nbd.listen_failed' })
  })

  test('on several addresses serves the same exports', async () => {
    await using server = await openTemporaryNbdServer(exports)
    const address = await server.server.listen({ transport: 'tcp', host: '127.0.0.1', port: 0 })
    for (const endpoint of [server.endpoint(), { kind: 'nbd', address, exportName: 'd' } as const]) {
      await using source = await openNbdSource(endpoint, { signal })
      expect(source.sizeBytes).toBe(4096)
    }
  })
})

/** As a process leaves it that was killed: bound, and nobody there. */
async function leaveDeadSocket(path: string): Promise<void> {
  const { execFileSync } = await import('node:child_process')
  const script = `const s=require('net').createServer().listen(${JSON.stringify(path)},()=>process.kill(process.pid,'SIGKILL'))`
  try {
    execFileSync(process.execPath, ['-e', script])
  } catch {
    // Killed, as it should be.
  }
  const socket = connect(path)
  await new Promise<void>((resolve) => socket.once('error', () => resolve()))
}
