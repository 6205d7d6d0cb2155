import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { makeTestDir } from '../client/real-nbd-server.ts'
import type { NbdExport } from './nbd-export.ts'
import { createServedMemoryDisk } from './served-memory-disk.ts'
import { openTemporaryNbdServer } from './temporary-nbd-server.ts'

const MIB = 1024 * 1024
const SIZE_BYTES = 24 * MIB
const signal = AbortSignal.timeout(300_000)
const runFile = promisify(execFile)

/** Runs a program to its end and returns what it printed. Rejects when it fails. */
async function run(command: string, ...args: readonly string[]): Promise<string> {
  const { stdout } = await runFile(command, args, { signal, timeout: 60_000, maxBuffer: 16 * MIB })
  return stdout
}

/** Data that no filter can guess, with known zeros in its middle third. */
async function makeDisk() {
  const served = createServedMemoryDisk(SIZE_BYTES)
  await served.disk.write(0, randomBytes(8 * MIB), { signal })
  await served.disk.write(16 * MIB, randomBytes(8 * MIB), { signal })
  return served
}

async function serve(...exports: readonly NbdExport[]) {
  const server = await openTemporaryNbdServer(exports)
  const uri = (name = exports[0]?.name ?? ''): string => `nbd+unix:///${name}?socket=${server.socketPath}`
  return Object.assign(server, { uri })
}

describe('nbdcopy', () => {
  test.each(['1', '4'])('reads every byte over %s connections', async (connections) => {
    await using tmp = await makeTestDir()
    const { disk } = await makeDisk()
    await using server = await serve({ name: 'disk', source: disk })
    const target = join(tmp.dir, 'copy.raw')
    await run('nbdcopy', `--connections=${connections}`, server.uri(), target)
    expect(Buffer.compare(await readFile(target), disk.bytes)).toBe(0)
  })

  test.each(['1', '4'])('writes every byte over %s connections, and flushes', async (connections) => {
    await using tmp = await makeTestDir()
    const source = join(tmp.dir, 'source.raw')
    const content = Buffer.concat([randomBytes(10 * MIB), Buffer.alloc(4 * MIB), randomBytes(10 * MIB)])
    await writeFile(source, content)
    const { disk, sink, counts } = createServedMemoryDisk(randomBytes(SIZE_BYTES))
    await using server = await serve({ name: 'disk', source: disk, sink })
    await run('nbdcopy', '--flush', `--connections=${connections}`, source, server.uri())
    expect(Buffer.compare(content, disk.bytes)).toBe(0)
    expect(counts.flushes).toBeGreaterThan(0)
  })

  test('copies from one export to another, holes as zeros', async () => {
    const from = await makeDisk()
    const to = createServedMemoryDisk(randomBytes(SIZE_BYTES))
    await using server = await serve(
      { name: 'from', source: from.disk },
      { name: 'to', source: to.disk, sink: to.sink },
    )
    await run('nbdcopy', '--flush', server.uri('from'), server.uri('to'))
    expect(Buffer.compare(from.disk.bytes, to.disk.bytes)).toBe(0)
    expect(to.counts.zeros).toBeGreaterThan(0)
  })
})

describe('nbdinfo', () => {
  test('lists exports with all they can do', async () => {
    const { disk, sink } = await makeDisk()
    await using server = await serve(
      { name: 'disk', description: 'a disk', source: disk, sink, dirtyBitmap: 'b0' },
      { name: 'other', source: disk },
    )
    const Listed = z.object({
      protocol: z.string(),
      structured: z.boolean(),
      exports: z.array(z.record(z.string(), z.unknown())),
    })
    const listed = Listed.parse(JSON.parse(await run('nbdinfo', '--list', '--json', server.uri())))
    expect(listed).toMatchObject({ protocol: 'newstyle-fixed', structured: true })
    const can = ['cache', 'df', 'fast_zero', 'flush', 'fua', 'multi_conn', 'trim', 'zero'].map((what) => `can_${what}`)
    expect(listed.exports).toMatchObject([
      {
        'export-name': 'disk',
        'description': 'a disk',
        'export-size': SIZE_BYTES,
        'is_read_only': false,
        'contexts': ['base:allocation', 'qemu:dirty-bitmap:b0'],
        'block_size_maximum': 32 * MIB,
        ...Object.fromEntries(can.map((name) => [name, true])),
      },
      { 'export-name': 'other', 'is_read_only': true, 'can_multi_conn': true, 'can_zero': false, 'can_trim': false },
    ])
  })

  test('maps data, holes and what is dirty', async () => {
    const { disk } = await makeDisk()
    const tracker = disk.addTracker()
    await disk.write(5 * MIB, randomBytes(MIB), { signal })
    await using server = await serve({ name: 'disk', source: disk.freeze(tracker), dirtyBitmap: 'b0' })
    const map = async (context: string): Promise<unknown> =>
      JSON.parse(await run('nbdinfo', `--map=${context}`, '--json', server.uri()))
    expect(await map('base:allocation')).toMatchObject([
      { offset: 0, length: 8 * MIB, type: 0 },
      { offset: 8 * MIB, length: 8 * MIB, type: 3 },
      { offset: 16 * MIB, length: 8 * MIB, type: 0 },
    ])
    expect(await map('qemu:dirty-bitmap:b0')).toMatchObject([
      { offset: 0, length: 5 * MIB, type: 0 },
      { offset: 5 * MIB, length: MIB, type: 1 },
      { offset: 6 * MIB, length: 18 * MIB, type: 0 },
    ])
  })

  test('finds no export that is not there', async () => {
    await using server = await serve({ name: 'disk', source: (await makeDisk()).disk })
    await expect(run('nbdinfo', server.uri('none'))).rejects.toThrow('for export: none')
  })
})

describe('qemu-img', () => {
  test('knows size and map, converts to and from an export, and finds both equal', async () => {
    await using tmp = await makeTestDir()
    const from = await makeDisk()
    const to = createServedMemoryDisk(SIZE_BYTES)
    await using server = await serve(
      { name: 'from', source: from.disk },
      { name: 'to', source: to.disk, sink: to.sink },
    )
    const info: unknown = JSON.parse(await run('qemu-img', 'info', '--output=json', server.uri('from')))
    expect(info).toMatchObject({ 'virtual-size': SIZE_BYTES, 'format': 'raw' })
    const map: unknown = JSON.parse(await run('qemu-img', 'map', '--output=json', '-f', 'raw', server.uri('from')))
    expect(map).toMatchObject([
      { start: 0, length: 8 * MIB, zero: false, data: true },
      { start: 8 * MIB, length: 8 * MIB, zero: true, data: false },
      { start: 16 * MIB, length: 8 * MIB, zero: false, data: true },
    ])
    const image = join(tmp.dir, 'disk.qcow2')
    await run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', server.uri('from'), image)
    await run('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', server.uri('from'), image)
    await run('qemu-img', 'convert', '-n', '-f', 'qcow2', '-O', 'raw', image, server.uri('to'))
    expect(Buffer.compare(from.disk.bytes, to.disk.bytes)).toBe(0)
    to.disk.bytes[SIZE_BYTES - 1] = 1 + (to.disk.bytes[SIZE_BYTES - 1] ?? 0)
    const comparing = run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', server.uri('from'), server.uri('to'))
    await expect(comparing).rejects.toThrow('Command failed')
  })

  test('sees a dirty bitmap', async () => {
    const { disk } = await makeDisk()
    const tracker = disk.addTracker()
    await disk.write(5 * MIB, randomBytes(MIB), { signal })
    await using server = await serve({ name: 'disk', source: disk.freeze(tracker), dirtyBitmap: 'b0' })
    const socket = `driver=nbd,server.type=unix,server.path=${server.socketPath},export=disk`
    const bitmap = `${socket},x-dirty-bitmap=qemu:dirty-bitmap:b0`
    const map: unknown = JSON.parse(await run('qemu-img', 'map', '--output=json', '--image-opts', bitmap))
    expect(map).toMatchObject([
      { start: 0, length: 5 * MIB, data: true },
      { start: 5 * MIB, length: MIB, data: false },
      { start: 6 * MIB, length: 18 * MIB, data: true },
    ])
  })

  test('checks the pattern of a QCOW2 file that lies in an export', async () => {
    const { disk, sink } = createServedMemoryDisk(SIZE_BYTES)
    await using server = await serve({ name: 'disk', source: disk, sink })
    await run('qemu-img', 'create', '-q', '-f', 'qcow2', server.uri(), '64M')
    await run('qemu-io', '-f', 'qcow2', server.uri(), '-c', 'write -P 7 0 5M', '-c', 'write -P 8 60M 1M', '-c', 'flush')
    await run('qemu-img', 'check', '-q', '-f', 'qcow2', server.uri())
    const reads = ['read -P 7 0 5M', 'read -P 8 60M 1M', 'read -P 0 6M 50M']
    expect(await patternsFound(server.uri(), 'qcow2', reads)).toBe(reads.length)
  })
})

/** How many of the reads found their pattern. */
async function patternsFound(uri: string, format: string, reads: readonly string[]): Promise<number> {
  const said = await run('qemu-io', '-t', 'none', '-f', format, uri, ...reads.flatMap((read) => ['-c', read]))
  return /failed/i.test(said) ? 0 : (said.match(/^read /gm)?.length ?? 0)
}

describe('qemu-io', () => {
  test('writes, zeroes, discards, forces and flushes; what it reads is what it wrote', async () => {
    const { disk, sink, counts } = createServedMemoryDisk(randomBytes(SIZE_BYTES))
    await using server = await serve({ name: 'disk', source: disk, sink })
    const steps = [
      'write -P 0x11 0 9M',
      'write -P 0x22 4095 2',
      'write -z 1M 64k',
      'write -z -u 2M 64k',
      'write -z -u -n 3M 64k',
      'discard 4M 1M',
      'write -f -P 0x33 5M 64k',
      'aio_write -P 0x44 6M 1M',
      'aio_write -P 0x55 7M 1M',
      'aio_flush',
      'flush',
    ]
    const said = await run('qemu-io', '-t', 'none', '-f', 'raw', server.uri(), ...steps.flatMap((step) => ['-c', step]))
    expect(said).not.toMatch(/failed/i)
    const reads = [
      'read -P 0x11 0 4095',
      'read -P 0x22 4095 2',
      'read -P 0 1M 64k',
      'read -P 0 2M 64k',
      'read -P 0 3M 64k',
      'read -P 0x33 5M 64k',
      'read -P 0x44 6M 1M',
      'read -P 0x55 7M 1M',
      'read -P 0x11 8M 1M',
    ]
    expect(await patternsFound(server.uri(), 'raw', reads)).toBe(reads.length)
    expect(counts.trims).toBeGreaterThan(0)
    expect(counts.fastZeros).toBeGreaterThan(0)
    expect(counts.flushes).toBeGreaterThan(1)
    expect(disk.bytes.subarray(5 * MIB, 5 * MIB + 65_536).every((byte) => byte === 0x33)).toBe(true)
  })

  test('cannot write what is read-only', async () => {
    await using server = await serve({ name: 'disk', source: (await makeDisk()).disk })
    const writing = run('qemu-io', '-f', 'raw', server.uri(), '-c', 'write 0 512')
    await expect(writing).rejects.toThrow('Permission denied')
  })
})

test('qemu-nbd lists the exports', async () => {
  const { disk } = await makeDisk()
  await using server = await serve({ name: 'disk', description: 'a disk', source: disk, dirtyBitmap: 'b0' })
  const said = await run('qemu-nbd', '--list', `--socket=${server.socketPath}`)
  expect(said).toContain("export: 'disk'")
  expect(said).toContain(`size:  ${SIZE_BYTES}`)
  expect(said).toContain('qemu:dirty-bitmap:b0')
})

test('fio verifies what it wrote at random, over several connections', async () => {
  const { disk, sink } = createServedMemoryDisk(SIZE_BYTES)
  await using server = await serve({ name: 'disk', source: disk, sink })
  const job = ['--ioengine=nbd', `--uri=${server.uri()}`, '--rw=randrw', '--rwmixread=30', '--bsrange=4k-256k']
  const disks = ['--numjobs=3', '--size=8M', '--offset_increment=8M', '--iodepth=16', '--verify=crc32c', '--fsync=32']
  const Result = z.object({ jobs: z.array(z.object({ error: z.int(), write: z.object({ total_ios: z.int() }) })) })
  const said = await run('fio', '--name=verify', '--output-format=json', '--verify_state_save=0', ...job, ...disks)
  const { jobs } = Result.parse(JSON.parse(said.slice(said.indexOf('{'))))
  expect(jobs.map(({ error }) => error)).toEqual([0, 0, 0])
  for (const { write } of jobs) expect(write.total_ios).toBeGreaterThan(0)
})
