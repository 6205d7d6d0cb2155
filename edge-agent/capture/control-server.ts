import { rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { z } from 'zod'
import {
  captureMethods,
  type CaptureMethod,
  IN_FLIGHT_MAX,
  PROTOCOL_MAX,
  PROTOCOL_MIN,
  Request,
  REQUEST_MAX_BYTES,
  type Role,
} from './capture-protocol.ts'
import { type Caller, captureHandlers, type CaptureServiceParts, endCaller } from './capture-service.ts'
import { JsonLines } from './json-lines.ts'

const CONNECTIONS_MAX = 16
const HELLO_TIMEOUT_MS = 10_000

export interface ControlServerOptions extends CaptureServiceParts {
  /** Unix socket to listen at, in a directory that only this user can enter; one that a dead process left is replaced. */
  readonly path: string
  readonly version: string
  readonly logger: Logger
  /** Told when the edge agent has come with its first connection, and when the last one is gone. */
  readonly onAgents: (count: number) => void
}

type Handlers = ReturnType<typeof captureHandlers>

/**
 * Answers the edge agent's requests on a unix socket of this host; FORMAT.md has the lines. Everything a connection holds
 * ends with it. Who breaks the protocol loses the connection.
 */
export class ControlServer implements AsyncDisposable {
  readonly #options: ControlServerOptions
  readonly #handlers: Handlers
  readonly #server: Server
  readonly #connections = new Set<ControlConnection>()

  private constructor(options: ControlServerOptions) {
    this.#options = options
    this.#handlers = captureHandlers(options)
    this.#server = createServer((socket) => this.#accept(socket))
    this.#server.maxConnections = CONNECTIONS_MAX
  }

  static async open(options: ControlServerOptions): Promise<ControlServer> {
    await rm(options.path, { force: true })
    const server = new ControlServer(options)
    await new Promise<void>((resolve, reject) => {
      server.#server.once('error', reject)
      server.#server.listen(options.path, resolve)
    })
    return server
  }

  /** Connections of the edge agent. */
  get agents(): number {
    return [...this.#connections].filter(({ role }) => role === 'agent').length
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    await Promise.all([...this.#connections].map(async (connection) => await connection.end()))
    await closed
  }

  #accept(socket: Socket): void {
    const { version, logger } = this.#options
    const connection = new ControlConnection(socket, {
      handlers: this.#handlers,
      version,
      logger,
      onHello: () => this.#options.onAgents(this.agents),
      onEnd: async (caller) => {
        await endCaller(this.#options, caller)
        this.#connections.delete(connection)
        this.#options.onAgents(this.agents)
      },
    })
    this.#connections.add(connection)
  }
}

interface ConnectionParts {
  readonly handlers: Handlers
  readonly version: string
  readonly logger: Logger
  readonly onHello: () => void
  readonly onEnd: (caller: Caller) => Promise<void>
}

class ControlConnection {
  role: Role | undefined
  readonly #parts: ConnectionParts
  readonly #lines: JsonLines
  readonly #over = new AbortController()
  readonly #ended = Promise.withResolvers<void>()
  readonly #caller: Caller = { over: this.#over.signal, frozen: new Set() }
  readonly #greeted: NodeJS.Timeout
  #inFlight = 0

  constructor(socket: Socket, parts: ConnectionParts) {
    this.#parts = parts
    this.#lines = new JsonLines(socket, {
      lineMaxBytes: REQUEST_MAX_BYTES,
      onValue: (value) => void this.#take(value),
      onClosed: (reason) => void this.#close(reason),
    })
    const silent = new PlatformError('capture.protocol_violation', 'the other end did not say hello in time')
    this.#greeted = setTimeout(() => this.#lines.close(silent), HELLO_TIMEOUT_MS)
    const protocols = { min: PROTOCOL_MIN, max: PROTOCOL_MAX }
    this.#lines.send({ service: 'sendense-capture', protocols, version: parts.version })
  }

  async end(): Promise<void> {
    this.#lines.close(new Error('the capture agent ends'))
    await this.#ended.promise
  }

  async #take(value: unknown): Promise<void> {
    const request = Request.safeParse(value)
    if (!request.success) {
      this.#lines.close(new PlatformError('capture.protocol_violation', 'the other end sent what is no request'))
      return
    }
    const { id, method, params } = request.data
    this.#inFlight += 1
    if (this.#inFlight === IN_FLIGHT_MAX) this.#lines.pause()
    try {
      const note = (said: unknown): void => this.#lines.send({ id, note: said })
      this.#lines.send({ id, result: await this.#run(method, params, note) })
    } catch (error) {
      this.#lines.send({ id, error: toErrorReport(error) })
    } finally {
      this.#inFlight -= 1
      if (this.#inFlight === IN_FLIGHT_MAX - 1) this.#lines.resume()
    }
  }

  async #run(name: string, given: unknown, note: (value: unknown) => void): Promise<unknown> {
    if (!isMethod(name)) throw new PlatformError('input.invalid', `there is no request ${name}`)
    const parsed = captureMethods[name].params.safeParse(given)
    if (!parsed.success) {
      throw new PlatformError('input.invalid', `${name}: ${parsed.error.message}`, { cause: parsed.error })
    }
    if (name === 'hello') return this.#greet(captureMethods.hello.params.parse(given))
    if (this.role === undefined) throw new PlatformError('input.invalid', `hello comes before ${name}`)
    if (this.role === 'status' && name !== 'status') throw new PlatformError('input.invalid', `${name} is the agent's`)
    const signal = AbortSignal.any([this.#over.signal, AbortSignal.timeout(captureMethods[name].timeoutMs)])
    // Sound: the parameters were parsed by this method's own schema.
    const handle = this.#parts.handlers[name] as (params: unknown, call: object) => Promise<unknown>
    return await handle(parsed.data, { signal, caller: this.#caller, note })
  }

  #greet({ protocol, role }: z.infer<typeof captureMethods.hello.params>): object {
    if (protocol < PROTOCOL_MIN || protocol > PROTOCOL_MAX) {
      const text = `the edge agent speaks version ${protocol} of the protocol, this capture agent ${PROTOCOL_MIN} to ${PROTOCOL_MAX}`
      throw new PlatformError('capture.version_unsupported', text)
    }
    clearTimeout(this.#greeted)
    this.role = role
    this.#parts.logger.info({ role }, 'a control connection was opened')
    this.#parts.onHello()
    return {}
  }

  async #close(reason: unknown): Promise<void> {
    clearTimeout(this.#greeted)
    const { role } = this
    this.role = undefined
    this.#over.abort(reason)
    this.#parts.logger.info({ role, err: reason }, 'a control connection is over')
    await this.#parts.onEnd(this.#caller)
    this.#ended.resolve()
  }
}

function isMethod(name: string): name is CaptureMethod {
  return Object.hasOwn(captureMethods, name)
}
