import { randomInt } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import { z } from 'zod'
import type { CallOptions } from '../block/block-source.ts'
import { JsonLineSocket } from './json-line-socket.ts'
import { withDeadline } from './with-deadline.ts'

const COMMAND_TIMEOUT_MS = 10_000
const EXEC_POLL_MS = 50
const LINES_MAX = 1000

const Reply = z.union([
  z.object({ error: z.object({ class: z.string(), desc: z.string() }) }),
  z.object({ return: z.unknown() }),
])
const ExecStatus = z.object({
  'exited': z.boolean(),
  'exitcode': z.int().optional(),
  'signal': z.int().optional(),
  'out-data': z.string().optional(),
  'err-data': z.string().optional(),
})
const OsInfo = z.object({ 'name': z.string().optional(), 'pretty-name': z.string().optional() })

export interface QgaCallOptions extends CallOptions {
  /** 10 s unless given. */
  readonly timeoutMs?: number
}

export interface GuestExecResult {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

/**
 * A connection to the guest agent in a VM (QEMU Guest Agent Protocol Reference). Its socket serves one client at a
 * time and answers in order, so after a timeout this object is of no use any more: dispose it and connect again.
 * Methods reject with `qemu.command_failed`, `qemu.timeout`, `qemu.disconnected`, `source.protocol_violation`.
 */
export class QgaClient implements AsyncDisposable {
  readonly #socket: JsonLineSocket
  #lines: string[] = []
  #arrived = Promise.withResolvers<void>()
  #turn: Promise<unknown> = Promise.resolve()
  #broken: PlatformError | undefined

  private constructor(socket: JsonLineSocket) {
    this.#socket = socket
    socket.listen({
      line: (text) => {
        if (this.#lines.length < LINES_MAX) this.#lines.push(text)
        this.#arrived.resolve()
      },
      closed: (error) => {
        this.#broken ??= error
        this.#arrived.resolve()
      },
    })
  }

  /** Resolves when the agent answers; what it was asked before has been done then. */
  static async connect(path: string, options: QgaCallOptions): Promise<QgaClient> {
    const client = new QgaClient(await JsonLineSocket.open(path, options))
    try {
      await client.#synchronize(options)
    } catch (error) {
      client.#socket.close()
      throw error
    }
    return client
  }

  /** Commands run one after the other. */
  async execute<T>(command: string, args: object, answer: z.ZodType<T>, options: QgaCallOptions): Promise<T> {
    const run = this.#turn.then(async () => await this.#exchange(command, args, answer, options))
    this.#turn = run.catch(() => {})
    return await run
  }

  /** Freezes all file systems that can be and returns how many. Until `thaw` the agent answers little else. */
  async freeze(options: QgaCallOptions): Promise<number> {
    return await this.execute('guest-fsfreeze-freeze', {}, z.int(), options)
  }

  /** Returns how many file systems were frozen; 0 where none was. */
  async thaw(options: QgaCallOptions): Promise<number> {
    return await this.execute('guest-fsfreeze-thaw', {}, z.int(), options)
  }

  async isFrozen(options: QgaCallOptions): Promise<boolean> {
    return (await this.execute('guest-fsfreeze-status', {}, z.enum(['thawed', 'frozen']), options)) === 'frozen'
  }

  async osName(options: QgaCallOptions): Promise<string> {
    const info = await this.execute('guest-get-osinfo', {}, OsInfo, options)
    return info['pretty-name'] ?? info.name ?? 'unknown operating system'
  }

  async hostName(options: QgaCallOptions): Promise<string> {
    const answer = await this.execute('guest-get-host-name', {}, z.object({ 'host-name': z.string() }), options)
    return answer['host-name']
  }

  /** Runs a program in the guest and waits for its end. Output is cut by the agent at 16 MiB. */
  async run(path: string, args: readonly string[], options: QgaCallOptions): Promise<GuestExecResult> {
    const start = { path, 'arg': args, 'capture-output': true }
    const { pid } = await this.execute('guest-exec', start, z.object({ pid: z.int() }), options)
    for (;;) {
      const status = await this.execute('guest-exec-status', { pid }, ExecStatus, options)
      if (status.exited) {
        // By the shell's convention a program that a signal ended answers 128 and the signal's number.
        const exitCode = status.exitcode ?? 128 + (status.signal ?? 0)
        return { exitCode, stdout: decode(status['out-data']), stderr: decode(status['err-data']) }
      }
      await untilAborted(delay(EXEC_POLL_MS), options.signal)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close()
  }

  async #exchange<T>(command: string, args: object, answer: z.ZodType<T>, options: QgaCallOptions): Promise<T> {
    options.signal.throwIfAborted()
    if (this.#broken !== undefined) throw this.#broken
    this.#lines = []
    this.#socket.send({ execute: command, arguments: args })
    const reply = parseReply(command, await this.#readLine(command, options))
    if ('error' in reply) {
      const details = { class: reply.error.class, command }
      throw new PlatformError('qemu.command_failed', `the guest refused ${command}: ${reply.error.desc}`, { details })
    }
    const value = answer.safeParse(reply.return)
    if (value.success) return value.data
    throw new PlatformError('source.protocol_violation', `the guest answered ${command} with ${value.error.message}`)
  }

  /** `guest-sync-delimited`: lines that answer somebody else's commands are skipped until our number comes back. */
  async #synchronize(options: QgaCallOptions): Promise<void> {
    const id = randomInt(1, 2 ** 31)
    this.#socket.send({ execute: 'guest-sync-delimited', arguments: { id } }, { resync: true })
    while (!isReturnOf(await this.#readLine('guest-sync-delimited', options), id));
  }

  async #readLine(what: string, options: QgaCallOptions): Promise<string> {
    const { signal, timeoutMs = COMMAND_TIMEOUT_MS } = options
    for (;;) {
      const line = this.#lines.shift()
      if (line !== undefined) return line
      if (this.#broken !== undefined) throw this.#broken
      this.#arrived = Promise.withResolvers<void>()
      try {
        await withDeadline(this.#arrived.promise, { signal, timeoutMs, what: `guest agent: ${what}` })
      } catch (error) {
        // A late answer would be taken for the next command's.
        this.#broken = new PlatformError('qemu.disconnected', `the guest agent owes an answer to ${what}`, {
          cause: error,
        })
        throw error
      }
    }
  }
}

function parseReply(command: string, text: string): z.infer<typeof Reply> {
  try {
    return Reply.parse(JSON.parse(text))
  } catch (error) {
    const message = `the guest answered ${command} with ${text.slice(0, 200)}`
    throw new PlatformError('source.protocol_violation', message, { cause: error })
  }
}

function isReturnOf(text: string, id: number): boolean {
  try {
    return z.object({ return: z.literal(id) }).safeParse(JSON.parse(text)).success
  } catch {
    return false
  }
}

function decode(base64: string | undefined): string {
  return Buffer.from(base64 ?? '', 'base64').toString('utf8')
}
