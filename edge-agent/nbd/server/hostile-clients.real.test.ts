import { describe, expect, test } from 'vitest'
import { createMemoryDisk, type MemoryDisk } from '../../block/memory-disk.ts'
import { encodeOption } from '../wire/handshake-options.ts'
import {
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_EINVAL,
  NBD_OPT_GO,
  NBD_OPT_LIST,
  NBD_OPT_SET_META_CONTEXT,
} from '../wire/nbd-constants.ts'
import type { NbdExport } from './nbd-export.ts'
import type { NbdServerOptions } from './nbd-server.ts'
import { encodeRawRequest, RawNbdClient, u32 } from './raw-nbd-client.ts'
import { openTemporaryNbdServer, type TemporaryNbdServer } from './temporary-nbd-server.ts'

const MIB = 1024 * 1024
const SIZE_BYTES = 64 * MIB

const quick = { handshakeTimeoutMs: 150, stallTimeoutMs: 150 } as const
/** Longer than any test takes: only what is cut off at once is cut off. */
const never = { handshakeTimeoutMs: 600_000, stallTimeoutMs: 600_000 } as const
const disk = createMemoryDisk({ sizeBytes: SIZE_BYTES })
const plain: NbdExport = { name: 'd', source: disk, sink: disk }

/** A server for each of which one good client must still be served at the end. */
async function withServer(
  attack: (server: TemporaryNbdServer) => Promise<void>,
  { one = plain, options = {} }: { one?: NbdExport; options?: Partial<NbdServerOptions> } = {},
): Promise<void> {
  await using server = await openTemporaryNbdServer([one], { ...quick, ...options })
  await attack(server)
  await using client = await RawNbdClient.connect(server.socketPath)
  await client.go('d', { style: 'structured' })
  expect(await client.ask({ command: NBD_CMD_FLUSH })).toMatchObject([{ errorNumber: 0 }])
  await client.ask({ command: NBD_CMD_READ, length: 512 })
  client.socket.destroy()
  await until(() => server.server.connectionCount === 0)
  expect(server.server.heldBytes).toBe(0)
}

/** Waits for what must become true; the test's own deadline ends it otherwise. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise<void>((resolve) => setTimeout(resolve, 1))
}

const connect = async ({ socketPath }: TemporaryNbdServer) => await RawNbdClient.connect(socketPath)

async function inTransmission(server: TemporaryNbdServer): Promise<RawNbdClient> {
  const client = await connect(server)
  await client.go('d', { style: 'structured' })
  return client
}

function option(magic: string, number: number, lengthBytes: number): Buffer {
  return Buffer.concat([Buffer.from(magic), u32(number), u32(lengthBytes)])
}

describe('a client in the handshake', () => {
  const atOnce: Record<string, (client: RawNbdClient) => Promise<void> | void> = {
    'that sets unknown flags': async (client) => void (await client.greet(4)),
    'that sends garbage': (client) => client.send(Buffer.alloc(100_000, 0x41)),
    'that floods': (client) => client.send(Buffer.alloc(8 * MIB, 1)),
    'that sends an option of another protocol': async (client) => {
      await client.greet()
      client.send(option('IHAVEOPX', NBD_OPT_LIST, 0))
    },
    'of old style that asks for options': async (client) => {
      await client.greet(0)
      client.send(encodeOption(NBD_OPT_LIST))
    },
    'that names an export of a gigabyte': async (client) => {
      await client.greet()
      client.send(option('IHAVEOPT', 1, 2 ** 30))
    },
  }

  test.each(Object.entries(atOnce))('%s is cut off at once', async (_, attack) => {
    await withServer(
      async (server) => {
        await using client = await connect(server)
        await attack(client)
        expect((await client.receiveToEnd()).length).toBeLessThan(200)
      },
      { options: never },
    )
  })

  const inTime: typeof atOnce = {
    'that says nothing': () => undefined,
    'that stops in mid-option': async (client) => {
      await client.greet()
      client.send(option('IHAVEOPT', NBD_OPT_GO, 1000), Buffer.alloc(10))
    },
    'that never ends an option': async (client) => {
      await client.greet()
      client.send(option('IHAVEOPT', NBD_OPT_SET_META_CONTEXT, 2 ** 32 - 1), Buffer.alloc(1000))
    },
  }

  test.each(Object.entries(inTime))('%s is cut off in time', async (_, attack) => {
    await withServer(async (server) => {
      await using client = await connect(server)
      await attack(client)
      const heard = await client.receiveToEnd()
      expect(heard.length).toBeLessThan(200)
    })
  })

  test('that asks and asks without reading is not heard any more, and cut off', async () => {
    const description = 'x'.repeat(4096)
    await withServer(
      async (server) => {
        await using client = await connect(server)
        await client.greet()
        client.socket.pause()
        client.send(Buffer.alloc(8 * MIB, encodeOption(NBD_OPT_LIST)))
        let leastUnheardBytes = Infinity
        await until(() => {
          if (server.server.connectionCount === 0) return true
          leastUnheardBytes = Math.min(leastUnheardBytes, client.socket.writableLength)
          return false
        })
        expect(leastUnheardBytes).toBeGreaterThan(4 * MIB)
      },
      { one: { ...plain, description } },
    )
  })

  test('beyond the number of connections is turned away until another one leaves', async () => {
    await withServer(
      async (server) => {
        const clients = await Promise.all(Array.from({ length: 3 }, async () => await inTransmission(server)))
        await using late = await connect(server)
        expect(await late.receiveToEnd()).toHaveLength(0)
        for (const client of clients) client.socket.destroy()
        await until(() => server.server.connectionCount === 0)
      },
      { options: { connectionsMax: 3 } },
    )
  })
})

describe('a client in transmission', () => {
  test.each([
    ['whose request begins with something else', Buffer.alloc(28, 7)],
    ['that sends an extended request unasked', encodeRawRequest('extended', { command: NBD_CMD_READ, length: 512 })],
    ['that announces a payload of a gigabyte', encodeRawRequest('simple', { command: NBD_CMD_WRITE, length: 2 ** 30 })],
  ])('%s is cut off at once', async (_, bytes) => {
    await withServer(
      async (server) => {
        await using client = await inTransmission(server)
        client.send(bytes)
        expect(await client.receiveToEnd()).toHaveLength(0)
      },
      { options: never },
    )
  })

  test.each([
    ['a header', 10],
    ['a payload', 28 + 100_000],
  ])('that stops in the middle of %s is cut off, and nothing was written', async (_, lengthBytes) => {
    await withServer(async (server) => {
      await using client = await inTransmission(server)
      const request = { command: NBD_CMD_WRITE, offset: MIB, payload: new Uint8Array(200_000).fill(0xee) }
      client.send(encodeRawRequest('structured', request).subarray(0, lengthBytes))
      expect(await client.receiveToEnd()).toHaveLength(0)
      expect(disk.bytes[MIB]).toBe(0)
    })
  })

  test('that leaves in mid-write has written nothing', async () => {
    await withServer(async (server) => {
      const client = await inTransmission(server)
      const request = { command: NBD_CMD_WRITE, offset: MIB, payload: new Uint8Array(20 * MIB).fill(0xee) }
      client.send(encodeRawRequest('structured', request).subarray(0, 19 * MIB))
      await until(() => server.server.heldBytes > 0)
      client.socket.destroy()
      await until(() => server.server.connectionCount === 0)
      expect(disk.bytes[MIB]).toBe(0)
    })
  })

  test('that asks for unknown things gets an error for each', async () => {
    await withServer(async (server) => {
      await using client = await inTransmission(server)
      for (let command = 8; command < 300; command += 1) {
        client.request({
          command,
          flags: command,
          cookie: BigInt(command),
          offset: 2n ** 64n - 1n,
          length: 2 ** 32 - 1,
        })
      }
      for (let command = 8; command < 300; command += 1) {
        expect(await client.reply()).toMatchObject({ errorNumber: NBD_EINVAL, cookie: BigInt(command) })
      }
    })
  })

  test('has no more requests worked on than allowed, however many it sends', async () => {
    const gate = Promise.withResolvers<void>()
    let running = 0
    let most = 0
    const flush = async (): Promise<void> => {
      running += 1
      most = Math.max(most, running)
      await gate.promise
      running -= 1
    }
    const sink = Object.assign(createMemoryDisk({ sizeBytes: SIZE_BYTES }), { flush })
    await withServer(
      async (server) => {
        await using client = await inTransmission(server)
        const flood = Array.from({ length: 5000 }, () => encodeRawRequest('structured', { command: NBD_CMD_FLUSH }))
        client.send(...flood)
        await until(() => running === 5)
        gate.resolve()
        for (let count = 0; count < flood.length; count += 1) expect((await client.reply()).errorNumber).toBe(0)
        expect(most).toBe(5)
      },
      { one: { name: 'd', source: sink, sink }, options: { requestsMax: 5, stallTimeoutMs: 10_000 } },
    )
  })

  test('that does not read is not heard any more, holds little, and gets all when it reads again', async () => {
    const { source, count } = countingReads(
      createMemoryDisk({ sizeBytes: SIZE_BYTES, content: new Uint8Array(SIZE_BYTES) }),
    )
    await withServer(
      async (server) => {
        await using client = await inTransmission(server)
        client.socket.pause()
        for (let at = 0; at < 80; at += 1) client.request({ command: NBD_CMD_READ, cookie: BigInt(at), length: MIB })
        await until(() => count.begun >= 32)
        // What the client's side holds: the sockets' buffers, which the system bounds.
        await until(() => server.server.heldBytes === 32 * MIB)
        expect(count.begun).toBeLessThan(40)
        client.socket.resume()
        const cookies = new Set<bigint>()
        while (cookies.size < 80) cookies.add((await client.reply()).cookie)
        expect(count.begun).toBe(80)
      },
      { one: { name: 'd', source, sink: disk }, options: { stallTimeoutMs: 10_000 } },
    )
  })

  test('that never reads again is cut off', async () => {
    await withServer(async (server) => {
      await using client = await inTransmission(server)
      client.socket.pause()
      for (let at = 0; at < 80; at += 1) client.request({ command: NBD_CMD_READ, length: MIB, flags: 4 })
      await until(() => server.server.connectionCount === 0)
      expect(client.socket.bytesRead).toBeLessThan(MIB)
    })
  })

  test('cannot keep the memory from others by payloads it never sends', async () => {
    await withServer(
      async (server) => {
        const hostile = await Promise.all(Array.from({ length: 4 }, async () => await inTransmission(server)))
        const header = encodeRawRequest('structured', { command: NBD_CMD_WRITE, length: 32 * MIB })
        for (const client of hostile) client.send(header)
        await until(() => server.server.heldBytes === 64 * MIB)
        await using good = await inTransmission(server)
        expect(await good.ask({ command: NBD_CMD_READ, length: MIB, flags: 4 })).toMatchObject([{ errorNumber: 0 }])
        for (const client of hostile) client.socket.destroy()
      },
      { options: { memoryMaxBytes: 64 * MIB } },
    )
  })
})

function countingReads(source: MemoryDisk) {
  const count = { begun: 0 }
  const read = source.read.bind(source)
  Object.assign(source, {
    read: async (...args: Parameters<MemoryDisk['read']>) => {
      count.begun += 1
      await read(...args)
    },
  })
  return { source, count }
}
