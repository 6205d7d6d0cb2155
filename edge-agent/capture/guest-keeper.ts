import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import process from 'node:process'
import { createInterface } from 'node:readline'
import { thawGuest } from '../platforms/kvm/guest-freeze.ts'
import { KEEPER_THAW, KeeperMessage } from './freeze-keeper-messages.ts'
import { fromErrorReport } from './from-error-report.ts'

const PROGRAM = join(import.meta.dirname, 'freeze-keeper.ts')

/** One freeze of one guest, held by a process of its own (`freeze-keeper.ts`). What that process leaves undone is done here. */
export class GuestKeeper {
  readonly #socketPath: string
  readonly #frozen = Promise.withResolvers<boolean>()
  readonly #over = Promise.withResolvers<number>()
  readonly #child: ChildProcess
  #said: KeeperMessage | undefined

  /** Begins to freeze at once. */
  constructor(guestAgentSocket: string, { maxMs }: { readonly maxMs: number }) {
    this.#socketPath = guestAgentSocket
    this.#frozen.promise.catch(() => {})
    this.#over.promise.catch(() => {})
    // Detached: what ends this process group must not end the one that thaws.
    this.#child = spawn(process.execPath, [PROGRAM, guestAgentSocket, String(maxMs)], {
      stdio: ['pipe', 'pipe', 'ignore'],
      detached: true,
    })
    this.#child.on('error', () => {})
    this.#child.stdin?.on('error', () => {}) // it may be over already
    if (this.#child.stdout !== null) {
      createInterface({ input: this.#child.stdout }).on('line', (line) => this.#take(line))
    }
    this.#child.once('close', () => void this.#ended())
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  /** As `VmHost.freezeGuest`. */
  get frozen(): Promise<boolean> {
    return this.#frozen.promise
  }

  /** How many file systems were thawed, when they are; rejects with `source.snapshot_failed`. */
  get over(): Promise<number> {
    return this.#over.promise
  }

  /** Thaws, a freeze that is under way too, and resolves as `over`. */
  async thaw(): Promise<number> {
    this.#child.stdin?.write(`${KEEPER_THAW}\n`)
    return await this.over
  }

  #take(line: string): void {
    const message = parseMessage(line)
    if (message === undefined) return
    this.#said = message
    if ('frozen' in message) this.#frozen.resolve(message.frozen)
    if ('thawed' in message) this.#over.resolve(message.thawed)
  }

  async #ended(): Promise<void> {
    if (this.#said !== undefined && 'thawed' in this.#said) return
    try {
      const fileSystems = await thawGuest(this.#socketPath)
      this.#frozen.resolve(false)
      this.#over.resolve(fileSystems)
    } catch (error) {
      const told = this.#said !== undefined && 'failed' in this.#said ? fromErrorReport(this.#said.failed) : error
      this.#frozen.reject(told)
      this.#over.reject(told)
    }
  }
}

/** A line that is cut off when its writer was killed says nothing. */
function parseMessage(line: string): KeeperMessage | undefined {
  try {
    return KeeperMessage.parse(JSON.parse(line))
  } catch {
    return undefined
  }
}
