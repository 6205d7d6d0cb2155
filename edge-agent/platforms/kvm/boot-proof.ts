import { open } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { stripVTControlCharacters } from 'node:util'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { QgaClient } from '../../qemu/qga-client.ts'
import type { BootProof } from '../target-connector.ts'
import type { KvmVm } from './kvm-host.ts'
import { findVmProcess } from './vm-process.ts'

const POLL_MS = 250
const AGENT_TIMEOUT_MS = 3000
/** How long a guest that said on its console that it is up has for its agent to answer too. */
const AGENT_GRACE_MS = 10_000
const LINES_MAX = 1000
const LINE_MAX_CHARS = 500
/** What a guest writes on its console when it is up. */
const READY_LINE = /^sendense-guest ready /

export interface BootWaitOptions extends CallOptions {
  readonly timeoutMs: number
  readonly onConsole?: (line: string) => void
}

/**
 * Waits until a VM that was just started shows that its guest came up: its agent answers with system and host name, or
 * its console says so.
 * Rejects with `target.boot_failed` (details.lastLine) after `timeoutMs`, or at once when QEMU has ended.
 */
export async function awaitBoot(vm: KvmVm, options: BootWaitOptions): Promise<BootProof> {
  const startedAt = Date.now()
  const secondsToUp = (): number => Math.round((Date.now() - startedAt) / 100) / 10
  const reader = new ConsoleReader(vm.consoleLog)
  let lastLine = ''
  let ready: { readonly line: string; readonly at: number } | undefined
  for (;;) {
    for (const line of await reader.readLines()) {
      options.onConsole?.(line)
      lastLine = line
      if (READY_LINE.test(line)) ready ??= { line, at: Date.now() }
    }
    const evidence = await askAgent(vm, options)
    if (evidence !== undefined) return { by: 'guest-agent', evidence, secondsToUp: secondsToUp() }
    if (ready !== undefined && Date.now() - ready.at > AGENT_GRACE_MS) {
      return { by: 'console', evidence: ready.line, secondsToUp: secondsToUp() }
    }
    const gone = (await findVmProcess(vm)) === undefined
    if (gone || Date.now() - startedAt > options.timeoutMs) {
      const how = gone ? 'its QEMU has ended' : `it gave no sign within ${options.timeoutMs} ms`
      const said = lastLine === '' ? 'its console is empty' : `its console ends with: ${lastLine}`
      throw new PlatformError('target.boot_failed', `${vm.config.name} did not come up: ${how}; ${said}`, {
        details: { platformRef: vm.config.vmId, lastLine },
      })
    }
    await untilAborted(delay(POLL_MS), options.signal)
  }
}

async function askAgent(vm: KvmVm, { signal }: CallOptions): Promise<string | undefined> {
  const options = { signal, timeoutMs: AGENT_TIMEOUT_MS }
  try {
    await using agent = await QgaClient.connect(vm.guestAgentSocket, options)
    const name = await agent.hostName(options)
    return `${await agent.osName(options)} on host ${name}`
  } catch {
    signal.throwIfAborted()
    return undefined
  }
}

/** New lines of a console log, whole ones, as text without control characters. */
class ConsoleReader {
  readonly #path: string
  #position = 0
  #rest = ''

  constructor(path: string) {
    this.#path = path
  }

  async readLines(): Promise<string[]> {
    const text = this.#rest + (await this.#readOn())
    const lines = text.split('\n')
    this.#rest = (lines.pop() ?? '').slice(-LINE_MAX_CHARS)
    return lines.slice(-LINES_MAX).flatMap((line) => printable(line))
  }

  async #readOn(): Promise<string> {
    try {
      await using file = await open(this.#path)
      const { size } = await file.stat()
      const buffer = Buffer.alloc(Math.min(size - this.#position, LINES_MAX * LINE_MAX_CHARS))
      const { bytesRead } = await file.read(buffer, 0, buffer.length, this.#position)
      this.#position += bytesRead
      return buffer.toString('utf8', 0, bytesRead)
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return ''
      throw error
    }
  }
}

/** The guest decides what is on its console: nothing of it may move a cursor or colour a terminal. */
function printable(line: string): string[] {
  const plain = Array.from(stripVTControlCharacters(line)).filter(
    (char) => char >= ' ' && (char < '\u007F' || char > '\u009F'),
  )
  const text = plain.join('').trim().slice(0, LINE_MAX_CHARS)
  return text === '' ? [] : [text]
}
