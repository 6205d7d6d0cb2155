import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_READ,
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_SEND_DF,
} from '../wire/nbd-constants.ts'
import { openNbdConnection } from './nbd-connection.ts'
import { openNbdSink } from './nbd-sink.ts'
import { openNbdSource } from './nbd-source.ts'
import { makeTestDir, qemuImg, startQemuNbd, startStorageDaemonExport } from './real-nbd-server.ts'

const MIB = 1024 * 1024
const GRANULE = 65_536
const signal = AbortSignal.timeout(300_000)
const call = { signal }

describe('QEMU', () => {
  test('one connection tells what is dirty and what is zero, while another one writes', async () => {
    await using tmp = await makeTestDir()
    const image = join(tmp.dir, 'disk.qcow2')
    await qemuImg('create', '-q', '-f', 'qcow2', image, String(4 * MIB))
    for (const bitmap of ['b0', 'b1']) await qemuImg('bitmap', '--add', '-g', String(GRANULE), image, bitmap)
    await qemuImg('bitmap', '--disable', image, 'b1')
    await using server = await startStorageDaemonExport(image, ['b0', 'b1'])
    await using sink = await openNbdSink(server.endpoint, call)
    await sink.write(5 * GRANULE, new Uint8Array(GRANULE).fill(1), call)
    await sink.writeZeroes(7 * GRANULE, 2 * GRANULE, call)
    await sink.write(20 * GRANULE, new Uint8Array(GRANULE).fill(2), call)
    await sink.flush(call)
    const dirtyOf = async (bitmap: string) => {
      const endpoint = { ...server.endpoint, dirtyContext: `qemu:dirty-bitmap:${bitmap}` }
      await using source = await openNbdSource(endpoint, call)
      const extents = await Array.fromAsync(source.extents({ offsetBytes: 0, lengthBytes: 4 * MIB }, call))
      return extents
        .filter(({ dirty }) => dirty)
        .map(({ offsetBytes, lengthBytes, zero }) => [offsetBytes / GRANULE, lengthBytes / GRANULE, zero])
    }
    expect(await dirtyOf('b0')).toEqual([
      [5, 1, false],
      [7, 2, true],
      [20, 1, false],
    ])
    expect(await dirtyOf('b1')).toEqual([])
  })

  test('a writable export is written over several connections, and one flush covers them all', async () => {
    await using tmp = await makeTestDir()
    const image = join(tmp.dir, 'disk.qcow2')
    await qemuImg('create', '-q', '-f', 'qcow2', image, String(32 * MIB))
    const content = Buffer.concat(Array.from({ length: 32 }, (_, index) => Buffer.alloc(MIB, index + 1)))
    await writeFile(join(tmp.dir, 'expected.raw'), content)
    await using server = await startStorageDaemonExport(image)
    await using connection = await openNbdConnection(server.endpoint, call)
    expect(connection.session.flags & NBD_FLAG_CAN_MULTI_CONN).not.toBe(0)
    const endpoint = { ...server.endpoint, connections: 4, requestsInFlightMax: 2 }
    const sink = await openNbdSink(endpoint, call)
    const writes = Array.from({ length: 32 }, async (_, index) => {
      await sink.write(index * MIB, content.subarray(index * MIB, (index + 1) * MIB), call)
    })
    await Promise.all(writes)
    await sink.flush(call)
    server.process.kill('SIGKILL')
    await sink[Symbol.asyncDispose]()
    await expect(qemuImg('compare', image, join(tmp.dir, 'expected.raw'))).resolves.toBeUndefined()
  })

  test('a read that must not be fragmented comes in one piece, and one run where one is asked for', async () => {
    await using tmp = await makeTestDir()
    const image = join(tmp.dir, 'disk.qcow2')
    await qemuImg('create', '-q', '-f', 'qcow2', image, String(MIB))
    await using server = await startQemuNbd(image, ['--format=qcow2'])
    await using sink = await openNbdSink(server.endpoint, call)
    await sink.write(GRANULE, new Uint8Array(GRANULE).fill(6), call)
    await using connection = await openNbdConnection(server.endpoint, call)
    expect(connection.session.flags & NBD_FLAG_SEND_DF).not.toBe(0)
    const range = { offsetBytes: 32_768, lengthBytes: GRANULE }
    const into = new Uint8Array(GRANULE).fill(0xaa)
    await connection.request({ command: NBD_CMD_READ, commandFlags: NBD_CMD_FLAG_DF, ...range, into, signal })
    expect(into.indexOf(6)).toBe(32_768)
    expect(into.subarray(0, 32_768).every((byte) => byte === 0)).toBe(true)
    const asked = { command: NBD_CMD_BLOCK_STATUS, commandFlags: NBD_CMD_FLAG_REQ_ONE, ...range, signal } as const
    const answer = await connection.request(asked)
    const [runs] = answer.values()
    expect(runs).toEqual([{ lengthBytes: 32_768, flags: 3 }])
  })

  test('parts of blocks, many at once, on an image that asks for blocks of 4 KiB', async () => {
    await using tmp = await makeTestDir()
    const image = join(tmp.dir, 'disk.raw')
    await writeFile(image, Buffer.alloc(MIB, 0x11))
    const blkdebug = `driver=blkdebug,align=4096,image.driver=file,image.filename=${image}`
    await using server = await startQemuNbd(blkdebug, ['--image-opts'])
    await using connection = await openNbdConnection(server.endpoint, call)
    expect(connection.session.blockSizes.minimumBytes).toBe(4096)
    await using sink = await openNbdSink(server.endpoint, call)
    const writes = Array.from({ length: 100 }, async (_, index) => {
      await sink.write(index * 1000, new Uint8Array(500).fill(index), call)
    })
    await Promise.all(writes)
    await sink.writeZeroes(200_000, 10_001, { signal, fua: true })
    await using source = await openNbdSource(server.endpoint, call)
    const into = new Uint8Array(300_000)
    await source.read(0, into, call)
    const expected = Buffer.alloc(300_000, 0x11)
    for (let index = 0; index < 100; index += 1) expected.fill(index, index * 1000, index * 1000 + 500)
    expected.fill(0, 200_000, 210_001)
    expect(Buffer.compare(into, expected)).toBe(0)
  })
})
