import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { NbdEndpoint } from '../../block/block-endpoint.ts'

const START_ATTEMPTS_MAX = 200
const ATTEMPT_DELAY_MS = 25
const ANSWER_TIMEOUT_MS = 2000
/** A server waits for its clients; one that a failed test left connected must not hang the suite. */
const STOP_TIMEOUT_MS = 3000
const run = promisify(execFile)

/** A real NBD server that a test started, and its folder for images. */
export interface RealServer extends AsyncDisposable {
  readonly endpoint: NbdEndpoint
  readonly process: ChildProcess
}

/** Makes a folder that is removed on disposal. */
export async function makeTestDir(): Promise<AsyncDisposable & { readonly dir: string }> {
  const dir = await mkdtemp(join(tmpdir(), 'nbd-real-'))
  return { dir, [Symbol.asyncDispose]: async () => await rm(dir, { recursive: true, force: true }) }
}

/** nbdkit with the plugin, filters and settings given, on a unix socket of its own or where a dead server had its. */
export async function startNbdkit(args: readonly string[], insteadOf?: RealServer): Promise<RealServer> {
  const path = await pickSocket(insteadOf)
  return await start('nbdkit', ['--foreground', '--unix', path, ...args], { transport: 'unix', path })
}

async function pickSocket(insteadOf?: RealServer): Promise<string> {
  if (insteadOf?.endpoint.address.transport !== 'unix') return join(await mkdtemp(join(tmpdir(), 'nbd-real-')), 's')
  const { path } = insteadOf.endpoint.address
  await rm(path, { force: true })
  return path
}

/** nbdkit on a loopback port. */
export async function startTcpNbdkit(args: readonly string[]): Promise<RealServer> {
  const port = await findFreePort()
  const address = { transport: 'tcp', host: '127.0.0.1', port } as const
  return await start('nbdkit', ['--foreground', '--ipaddr', address.host, '--port', String(port), ...args], address)
}

/** qemu-nbd for one image; `args` before the image's path. */
export async function startQemuNbd(image: string, args: readonly string[] = []): Promise<RealServer> {
  const path = join(await mkdtemp(join(tmpdir(), 'nbd-real-')), 's')
  const fixed = ['--persistent', '--shared=0', `--socket=${path}`, '--discard=unmap', '--detect-zeroes=off']
  return await start('qemu-nbd', [...fixed, ...args, image], { transport: 'unix', path })
}

/** qemu-storage-daemon exporting one QCOW2 image, writable, under the name `disk`, with bitmaps of the image. */
export async function startStorageDaemonExport(image: string, bitmaps: readonly string[] = []): Promise<RealServer> {
  const path = join(await mkdtemp(join(tmpdir(), 'nbd-real-')), 's')
  const file = { 'driver': 'file', 'filename': image, 'node-name': 'file0', 'discard': 'unmap' }
  const disk = { 'driver': 'qcow2', 'file': 'file0', 'node-name': 'disk0', 'discard': 'unmap' }
  const args = ['--blockdev', JSON.stringify(file), '--blockdev', JSON.stringify(disk)]
  args.push('--nbd-server', `addr.type=unix,addr.path=${path}`)
  const nbd = { 'type': 'nbd', 'id': 'e0', 'node-name': 'disk0', 'name': 'disk', 'writable': true, bitmaps }
  args.push('--export', JSON.stringify(nbd))
  return await start('qemu-storage-daemon', args, { transport: 'unix', path }, 'disk')
}

/** qemu-img, to its end. */
export async function qemuImg(...args: readonly string[]): Promise<void> {
  await run('qemu-img', args)
}

async function start(
  command: string,
  args: readonly string[],
  address: NbdEndpoint['address'],
  exportName = '',
): Promise<RealServer> {
  const process = spawn(command, args, { stdio: ['ignore', 'ignore', 'ignore'] })
  const exited = once(process, 'exit')
  const server: RealServer = {
    endpoint: { kind: 'nbd', address, exportName },
    process,
    [Symbol.asyncDispose]: async () => {
      process.kill('SIGTERM')
      const stuck = setTimeout(() => process.kill('SIGKILL'), STOP_TIMEOUT_MS)
      await exited
      clearTimeout(stuck)
      if (address.transport === 'unix') await rm(join(address.path, '..'), { recursive: true, force: true })
    },
  }
  for (let attempt = 0; attempt < START_ATTEMPTS_MAX; attempt += 1) {
    if (process.exitCode !== null) break
    if (await answers(address)) return server
    await delay(ATTEMPT_DELAY_MS)
  }
  await server[Symbol.asyncDispose]()
  throw new Error(`${command} did not start: ${args.join(' ')}`)
}

/** Somebody else may have taken the port, and say nothing; a server that ends may close without an error. */
async function answers(address: NbdEndpoint['address']): Promise<boolean> {
  const socket = address.transport === 'unix' ? connect(address.path) : connect(address.port, address.host)
  const over = new AbortController()
  socket.once('close', () => over.abort())
  try {
    await once(socket, 'data', { signal: AbortSignal.any([over.signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]) })
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no TCP address')
  return address.port
}
