import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const COMMAND_TIMEOUT_MS = 10_000
const SERVER = fileURLToPath(new URL('fuse-server.ts', import.meta.url))

export interface FaultyMount extends AsyncDisposable {
  /** Where it is mounted. */
  readonly mountPoint: string
  /** Operations that fail from now on, and with which error of the system: `{ WRITE: 'ENOSPC' }`. */
  setFaults(faults: Readonly<Record<string, string>>): Promise<void>
  /** Calls into the mount wait in the kernel until `resume`, as with a server that is gone from the network. */
  hang(): void
  resume(): void
  /** The process behind the mount ends: every call is answered ENOTCONN. */
  kill(): Promise<void>
  unmount(): Promise<void>
}

/**
 * A directory that the kernel has really mounted, over FUSE, with a process behind it that fails on demand: for what NFS and
 * iSCSI mounts do when they break. Needs root.
 */
export async function mountFaultyDirectory(): Promise<FaultyMount> {
  const root = await mkdtemp(path.join(tmpdir(), 'sendense-fuse-'))
  const [mountPoint, below, faultFile] = ['mount', 'below', 'faults'].map((name) => path.join(root, name)) as [
    string,
    string,
    string,
  ]
  await mkdir(mountPoint)
  await mkdir(below)
  await writeFile(faultFile, '')
  const device = openSync('/dev/fuse', 'r+')
  let server: ChildProcess
  try {
    // mount(8) hands the descriptor on to mount(2), which takes it from whoever calls.
    const options = 'fd=3,rootmode=40000,user_id=0,group_id=0,max_read=131072'
    await run(spawn('mount', ['-i', '-t', 'fuse', '-o', options, 'sendense-test', mountPoint], withDevice(device)))
    server = spawn(process.execPath, [SERVER, below, faultFile], withDevice(device))
  } finally {
    closeSync(device)
  }
  const kill = async (): Promise<void> => {
    if (server.exitCode !== null || server.signalCode !== null) return
    const ended = once(server, 'exit')
    server.kill('SIGKILL')
    await ended
  }
  const unmount = async (): Promise<void> => {
    await new Promise<void>((resolve) => {
      execFile('umount', ['-l', mountPoint], { timeout: COMMAND_TIMEOUT_MS }, () => resolve())
    })
  }
  return {
    mountPoint,
    setFaults: async (faults) => {
      const lines = Object.entries(faults).map(([operation, code]) => `${operation} ${code}`)
      await writeFile(faultFile, lines.join('\n'))
    },
    hang: () => void server.kill('SIGSTOP'),
    resume: () => void server.kill('SIGCONT'),
    kill,
    unmount,
    [Symbol.asyncDispose]: async () => {
      await kill()
      await unmount()
      await rm(root, { recursive: true, force: true })
    },
  }
}

function withDevice(device: number) {
  return { stdio: ['ignore', 'ignore', 'inherit', device] as ('ignore' | 'inherit' | number)[] }
}

async function run(child: ChildProcess): Promise<void> {
  const [exitCode] = (await once(child, 'exit')) as [number | null]
  if (exitCode !== 0) throw new Error(`mount ended with ${exitCode}`)
}
