import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openNbdSink } from '../nbd/client/nbd-sink.ts'
import { openNbdSource } from '../nbd/client/nbd-source.ts'
import { checkQcow2Image, createQcow2Image, expectSuccess } from './qemu-img.ts'
import { type BlockNode, startStorageDaemon } from './storage-daemon.ts'

const SIZE_BYTES = 1024 * 1024
const call = () => ({ signal: AbortSignal.timeout(60_000) })
let dir: string
let image: string

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'sd-qsd-'))
  image = join(dir, 'an image, with "odd" name.qcow2')
  await createQcow2Image({ path: image, sizeBytes: SIZE_BYTES }, call())
})
afterEach(async () => await rm(dir, { recursive: true, force: true }))

test('what is written through an export is in the image after a clean stop, and no socket is left', async () => {
  await using daemon = await startStorageDaemon({ runtimeDir: dir, nodes: [node()], exports: [writable()] }, call())
  {
    await using sink = await openNbdSink(daemon.endpoint('disk'), call())
    await sink.write(512, new Uint8Array(512).fill(7), call())
  }
  await daemon.stop(call())
  expect(daemon.lost.aborted).toBe(false)
  expect((await readdir(dir)).filter((name) => name.endsWith('.sock'))).toEqual([])
  expect(await checkQcow2Image(image, call())).toMatchObject({ corruptions: 0, leaks: 0 })

  await using again = await startStorageDaemon({ runtimeDir: dir, nodes: [node()], exports: [writable()] }, call())
  await using source = await openNbdSource(again.endpoint('disk'), call())
  const into = new Uint8Array(1536)
  await source.read(0, into, call())
  expect([into[511], into[512], into[1023], into[1024]]).toEqual([0, 7, 7, 0])
})

test('a daemon that was given few threads works with them', async () => {
  const options = { runtimeDir: dir, nodes: [node()], exports: [writable()], ioThreadsMax: 1 }
  await using daemon = await startStorageDaemon(options, call())
  expect(await readFile(`/proc/${daemon.pid}/cmdline`, 'utf8')).toContain('"thread-pool-max":1')
  const pieces = Array.from({ length: 16 }, (_, index) => index * 65_536)
  {
    await using sink = await openNbdSink(daemon.endpoint('disk'), call())
    await Promise.all(pieces.map(async (at, index) => await sink.write(at, new Uint8Array(65_536).fill(index), call())))
    await sink.flush(call())
  }
  await daemon.stop(call())
  expect(await checkQcow2Image(image, call())).toMatchObject({ corruptions: 0, leaks: 0 })
})

test('a single bitmap is the dirty context of its endpoint', async () => {
  await expectSuccess(['bitmap', '--add', '--disable', '-f', 'qcow2', image, 'b0'], call())
  const exports = [{ name: 'disk', nodeName: 'disk', writable: false, bitmaps: ['b0'] }]
  await using daemon = await startStorageDaemon({ runtimeDir: dir, nodes: [node()], exports }, call())
  expect(daemon.endpoint('disk').dirtyContext).toBe('qemu:dirty-bitmap:b0')
  await using source = await openNbdSource(daemon.endpoint('disk'), call())
  const extents = await Array.fromAsync(source.extents({ offsetBytes: 0, lengthBytes: SIZE_BYTES }, call()))
  expect(extents.every((extent) => !extent.dirty)).toBe(true)
  expect(() => daemon.endpoint('other')).toThrow(expect.objectContaining({ code: 'nbd.export_not_found' }))
})

test('a daemon that cannot open its image is qemu.start_failed with its words', async () => {
  const nodes = [{ ...node(), file: { driver: 'file', filename: join(dir, 'nothing') } }]
  const start = startStorageDaemon({ runtimeDir: dir, nodes, exports: [] }, call())
  await expect(start).rejects.toMatchObject({
    code: 'qemu.start_failed',
    message: expect.stringContaining('No such file'),
  })
})

test('a socket path that is too long is refused before anything starts', async () => {
  const start = startStorageDaemon({ runtimeDir: join(dir, 'x'.repeat(100)), nodes: [], exports: [] }, call())
  await expect(start).rejects.toMatchObject({ code: 'config.invalid' })
})

test('a daemon that is killed is lost, and cannot be stopped cleanly any more', async () => {
  await using daemon = await startStorageDaemon({ runtimeDir: dir, nodes: [node()], exports: [writable()] }, call())
  const lost = once(daemon.lost, 'abort', call())
  process.kill(daemon.pid, 'SIGKILL')
  await lost
  expect(daemon.lost.reason).toMatchObject({ code: 'qemu.disconnected' })
  await expect(daemon.stop(call())).rejects.toMatchObject({ code: 'qemu.disconnected' })
})

test('the daemon of a process that is killed with SIGKILL dies with it', async () => {
  const script = fileURLToPath(new URL('storage-daemon.ts', import.meta.url))
  const code = `
    const { startStorageDaemon } = await import(process.argv[1])
    const [, , runtimeDir, nodes] = process.argv
    const options = { runtimeDir, nodes: JSON.parse(nodes), exports: [] }
    const daemon = await startStorageDaemon(options, { signal: AbortSignal.timeout(30_000) })
    console.log(daemon.pid)
    setInterval(() => {}, 1000)`
  const args = ['--input-type=module', '--eval', code, '--', script, dir, JSON.stringify([node()])]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = await once(child.stdout, 'data', call())
  const pid = Number(String(line))
  expect(await isRunning(pid)).toBe(true)
  child.kill('SIGKILL')
  await once(child, 'exit', call())
  await expect.poll(async () => await isRunning(pid), { timeout: 20_000 }).toBe(false)
})

function node(): BlockNode {
  return { 'driver': 'qcow2', 'node-name': 'disk', 'backing': null, 'file': { driver: 'file', filename: image } }
}

function writable() {
  return { name: 'disk', nodeName: 'disk', writable: true }
}

async function isRunning(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return stat !== '' && !/\) Z /.test(stat)
}
