import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'

const UP_WITHIN_MS = 30_000

/** A private MariaDB of one test file, on a socket only. */
export interface TestMariadb extends AsyncDisposable {
  readonly socketPath: string
  /** As a clean shutdown. */
  stop(): Promise<void>
  start(): Promise<void>
}

export async function startTestMariadb(): Promise<TestMariadb> {
  const directory = await mkdtemp(path.join(tmpdir(), 'sendense-mariadb-'))
  const dataDir = path.join(directory, 'data')
  const socketPath = path.join(directory, 'db.sock')
  const user = `--user=${userInfo().username}`
  const layout = [`--datadir=${dataDir}`, '--auth-root-authentication-method=normal', '--skip-test-db', user]
  await promisify(execFile)('mariadb-install-db', ['--no-defaults', ...layout])
  let child: ChildProcess | undefined
  const start = async (): Promise<void> => {
    const place = [`--datadir=${dataDir}`, `--socket=${socketPath}`, `--pid-file=${path.join(directory, 'db.pid')}`]
    const flags = ['--skip-networking', '--innodb-buffer-pool-size=16M', '--innodb-flush-log-at-trx-commit=2']
    child = spawn('mariadbd', ['--no-defaults', user, ...place, ...flags], { stdio: 'ignore' })
    await waitForSocket(socketPath)
  }
  const stop = async (): Promise<void> => {
    const running = child
    child = undefined
    if (running === undefined || running.exitCode !== null) return
    const exited = once(running, 'exit')
    running.kill('SIGTERM')
    await exited
  }
  await start()
  return {
    socketPath,
    start,
    stop,
    async [Symbol.asyncDispose]() {
      await stop()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

async function waitForSocket(socketPath: string): Promise<void> {
  const deadline = Date.now() + UP_WITHIN_MS
  for (;;) {
    const socket = connect(socketPath)
    const up = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true))
      socket.once('error', () => resolve(false))
    })
    socket.destroy()
    if (up) return
    if (Date.now() > deadline) throw new Error('MariaDB did not come up')
    await delay(50)
  }
}
