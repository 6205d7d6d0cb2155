import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { findFreePort } from '@sendense/infra/processes/free-port.ts'
import { startServer } from './child-server.ts'

const START_TIMEOUT_MS = 60_000
const POLL_MS = 50
const ACCOUNT = 'sendensetest'

export interface Azurite extends AsyncDisposable {
  readonly account: string
  readonly accountKey: string
  /** With the account in its path, as Azurite has it. */
  readonly endpoint: string
}

/** Microsoft's emulator of Azure Blob Storage, in memory. It knows neither versions nor immutability. */
export async function startAzurite(): Promise<Azurite> {
  const signal = AbortSignal.timeout(START_TIMEOUT_MS)
  const directory = await mkdtemp(path.join(tmpdir(), 'sendense-azurite-'))
  const accountKey = randomBytes(64).toString('base64')
  const port = await findFreePort()
  const program = createRequire(import.meta.url).resolve('azurite/dist/src/blob/main.js')
  const place = ['--blobHost', '127.0.0.1', '--blobPort', String(port)]
  const flags = ['--inMemoryPersistence', '--silent', '--disableTelemetry', '--skipApiVersionCheck']
  const server = startServer([process.execPath, program, ...place, ...flags], {
    logFile: path.join(directory, 'azurite.out'),
    env: { AZURITE_ACCOUNTS: `${ACCOUNT}:${accountKey}` },
    cwd: directory,
  })
  const stop = async (): Promise<void> => {
    await server[Symbol.asyncDispose]()
    await rm(directory, { recursive: true, force: true })
  }
  try {
    for (;;) {
      const answer = await fetch(`http://127.0.0.1:${port}/`, { signal }).catch(() => undefined)
      if (answer !== undefined) break
      await server.expectRunning()
      await delay(POLL_MS, undefined, { signal })
    }
    return {
      account: ACCOUNT,
      accountKey,
      endpoint: `http://127.0.0.1:${port}/${ACCOUNT}`,
      [Symbol.asyncDispose]: stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}
