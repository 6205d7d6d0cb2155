import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import * as z from 'zod'
import { isAlive, signalProcess, type ProcessIdentity } from './process-identity.ts'
import { waitUntil } from './wait-until.ts'

const Entry = z.strictObject({
  pid: z.int().positive(),
  startTicks: z.string(),
  stopSignal: z.enum(['SIGTERM', 'SIGINT']),
})
type Entry = z.infer<typeof Entry>

const LEFTOVER_STOP_MS = 15_000

/**
 * The processes that a stack started, one file each, so that the next start can end what a crashed one left behind.
 * Only the very processes are ended, known by pid and start time.
 */
export class ProcessLedger {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  async record(name: string, identity: ProcessIdentity, stopSignal: Entry['stopSignal']): Promise<void> {
    await mkdir(this.#directory, { recursive: true })
    const file = this.#file(name)
    await writeFile(`${file}.new`, JSON.stringify({ ...identity, stopSignal }))
    await rename(`${file}.new`, file)
  }

  async forget(name: string): Promise<void> {
    await rm(this.#file(name), { force: true })
  }

  /**
   * Ends every recorded process that still lives and forgets all. Returns the names of those that lived.
   *
   * @param options timeoutMs: how long each has to end by itself before it is killed
   */
  async endLeftovers(options: { signal: AbortSignal; timeoutMs?: number }): Promise<string[]> {
    const ended: string[] = []
    for (const file of await readdir(this.#directory).catch(() => [])) {
      if (!file.endsWith('.json')) continue
      const name = path.basename(file, '.json')
      const entry = Entry.safeParse(parseJson(await readFile(path.join(this.#directory, file), 'utf8')))
      if (entry.success && isAlive(entry.data)) {
        ended.push(name)
        await endProcess(entry.data, entry.data.stopSignal, { timeoutMs: LEFTOVER_STOP_MS, ...options })
      }
      await this.forget(name)
    }
    return ended
  }

  #file(name: string): string {
    return path.join(this.#directory, `${name}.json`)
  }
}

/** Asks the process to end and kills it when it has not by the deadline. Resolves when it is gone. */
export async function endProcess(
  identity: ProcessIdentity,
  stopSignal: NodeJS.Signals,
  options: { signal: AbortSignal; timeoutMs: number },
): Promise<void> {
  if (!signalProcess(identity, stopSignal)) return
  const gone = async (): Promise<boolean> => !isAlive(identity)
  try {
    await waitUntil(`process ${identity.pid} to end`, gone, options)
  } catch {
    options.signal.throwIfAborted()
    signalProcess(identity, 'SIGKILL')
    await waitUntil(`process ${identity.pid} to be gone`, gone, { ...options, timeoutMs: 10_000 })
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // a file cut short by a crash names no process
  }
}
