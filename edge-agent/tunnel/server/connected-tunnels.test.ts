import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { MemoryTunnelGrants } from '../memory-tunnel-grants.ts'
import { CAPTURE_USER } from '../tunnel-users.ts'
import { ConnectedTunnels } from './connected-tunnels.ts'
import { LoginGate, usualGateLimits } from './login-gate.ts'
import { PortSockets } from './port-sockets.ts'
import type { SessionOrder } from './session-messages.ts'

const PORTS = [20_001, 20_002]
const [PORT = 0] = PORTS
const captureAgentId = randomUUID()

/** Tunnels of one capture agent, whose processes say what a test says; the sockets of ports are real. */
class ScriptedTunnels implements AsyncDisposable {
  readonly tunnels: ConnectedTunnels
  readonly #directory: string
  readonly #sockets: PortSockets
  readonly #answers: SessionOrder[] = []

  private constructor(directory: string, openSockets: (handler: ConnectedTunnels['connect']) => PortSockets) {
    this.#directory = directory
    this.#sockets = openSockets((_agent, _port, socket) => socket.destroy())
    const grants = new MemoryTunnelGrants()
    grants.add('key', { captureAgentId, name: 'host-1', ports: PORTS })
    this.tunnels = new ConnectedTunnels({
      grants,
      gate: new LoginGate({ ...usualGateLimits, perMinute: 1000 }),
      processes: { accept: () => undefined, tell: (order) => this.#answers.push(order) },
      sockets: this.#sockets,
      clock: systemClock,
      logger: createLogger('test', 'silent'),
      onRefused: () => undefined,
      onChange: () => undefined,
      signal: new AbortController().signal,
    })
  }

  static async open(): Promise<ScriptedTunnels> {
    const directory = await mkdtemp(path.join(tmpdir(), 'sd-ports-'))
    return new ScriptedTunnels(directory, await PortSockets.prepare(path.join(directory, 't')))
  }

  /** So many connections that have logged in: sessions 1, 2, … */
  async logIn(count: number): Promise<void> {
    for (let sessionId = 1; sessionId <= count; sessionId += 1) {
      this.tunnels.accept(new Socket())
      this.tunnels.onReport({ type: 'login', sessionId, userName: CAPTURE_USER, fingerprint: 'key', publicKey: '' })
      while (this.tunnels.list()[0]?.tunnels !== sessionId) await nextTurn()
    }
  }

  forward(sessionId: number, port: number, wanted = true): void {
    this.tunnels.onReport({ type: 'forward', sessionId, port, wanted })
  }

  end(sessionId: number): void {
    this.tunnels.onReport({ type: 'ended', sessionId })
  }

  async untilAnswered(count: number): Promise<void> {
    while (this.#answers.filter(({ type }) => type === 'forward-answer').length < count) await nextTurn()
  }

  /** Whether a port can be connected to when nothing more happens. */
  async canConnect(port: number): Promise<boolean> {
    // What is changed is changed one by one: a change of another port comes after all of them, and after what they caused.
    for (let round = 0; round < 3; round += 1) {
      await this.#sockets.close(captureAgentId, 1)
      await nextTurn()
    }
    return await new Promise((resolve) => {
      const socket = connect(this.#sockets.pathOf(captureAgentId, port), () => {
        socket.destroy()
        resolve(true)
      })
      socket.on('error', () => resolve(false))
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sockets.closeAll()
    await rm(this.#directory, { recursive: true })
  }
}

test.each(['before', 'after'])('a port that a new tunnel opens just %s the old one ends stays open', async (when) => {
  await using scripted = await ScriptedTunnels.open()
  await scripted.logIn(2)
  scripted.forward(1, PORT)
  await scripted.untilAnswered(1)
  if (when === 'before') scripted.forward(2, PORT)
  scripted.end(1)
  if (when === 'after') scripted.forward(2, PORT)
  await scripted.untilAnswered(2)
  expect(scripted.tunnels.leadsSomewhere(captureAgentId, PORT)).toBe(true)
  expect(await scripted.canConnect(PORT)).toBe(true)
  scripted.end(2)
  expect(await scripted.canConnect(PORT)).toBe(false)
})

test('whatever tunnels open, close and end in whatever order, a port is there as long as it leads somewhere', async () => {
  const step = fc.record({
    what: fc.constantFrom('forward', 'forward', 'cancel', 'end', 'wait'),
    sessionId: fc.integer({ min: 1, max: 3 }),
    port: fc.constantFrom(...PORTS),
  })
  const property = fc.asyncProperty(fc.array(step, { maxLength: 16 }), async (steps) => {
    await using scripted = await ScriptedTunnels.open()
    await scripted.logIn(3)
    for (const { what, sessionId, port } of steps) {
      if (what === 'wait') await nextTurn()
      else if (what === 'end') scripted.end(sessionId)
      else scripted.forward(sessionId, port, what === 'forward')
    }
    for (const port of PORTS) {
      const isThere = await scripted.canConnect(port)
      expect({ port, isThere }).toEqual({ port, isThere: scripted.tunnels.leadsSomewhere(captureAgentId, port) })
    }
  })
  await fc.assert(property, { numRuns: 60 })
})
