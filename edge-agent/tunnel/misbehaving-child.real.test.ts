import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { over, PORTS, readAll, TestTunnel } from './test-tunnel.ts'
import type { TunnelClient } from './tunnel-client.ts'

const [PORT = 0] = PORTS
const patient = { timeout: 30_000 }

/** The real program of a tunnel's process, which besides says whatever it is told to. */
class MisbehavingProgram implements AsyncDisposable {
  readonly url: URL
  readonly #directory: string

  private constructor(directory: string) {
    this.#directory = directory
    this.url = pathToFileURL(path.join(directory, 'program.mjs'))
  }

  static async make(realProgram: string): Promise<MisbehavingProgram> {
    const program = new MisbehavingProgram(await mkdtemp(path.join(tmpdir(), 'sendense-child-')))
    await writeFile(
      program.url,
      `import { readFileSync } from 'node:fs'
       await import(${JSON.stringify(new URL(realProgram, import.meta.url).href)})
       process.on('SIGUSR2', () => process.send(JSON.parse(readFileSync(${JSON.stringify(program.#said)}, 'utf8'))))`,
    )
    return program
  }

  get #said(): string {
    return path.join(this.#directory, 'said.json')
  }

  /** Of the processes that run it. */
  async pids(): Promise<number[]> {
    const { stdout } = await promisify(execFile)('ps', ['-o', 'pid=,args=', '--ppid', String(process.pid)])
    const lines = stdout.split('\n').filter((line) => line.includes(this.#directory))
    return lines.map((line) => Number.parseInt(line, 10))
  }

  /** Has each of its processes say it. */
  async say(message: unknown): Promise<void> {
    await writeFile(this.#said, JSON.stringify(message))
    for (const pid of await this.pids()) process.kill(pid, 'SIGUSR2')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#directory, { recursive: true })
  }
}

async function openEcho(tunnel: TestTunnel, client: TunnelClient): Promise<Socket> {
  await client.setTarget(PORT, await tunnel.service((socket) => socket.pipe(socket)))
  await client.waitUntilConnected({ signal: AbortSignal.timeout(30_000) })
  return await tunnel.connect(PORT, AbortSignal.timeout(30_000))
}

async function expectEcho(tunnel: TestTunnel, client: TunnelClient): Promise<void> {
  const socket = await openEcho(tunnel, client)
  socket.end('hello')
  expect(String(await readAll(socket))).toBe('hello')
}

test('a process of connections that says what it must not is ended with them, is told of, and is replaced', async () => {
  await using program = await MisbehavingProgram.make('./server/session-process.ts')
  await using tunnel = await TestTunnel.open({ program: program.url, processesMax: 1 })
  const client = tunnel.client()
  const nonsense = [
    'nonsense',
    null,
    { type: 'sell-everything', sessionId: 1 },
    { type: 'login', sessionId: 1, userName: 'capture' },
    { type: 'forward', sessionId: 1, port: 65_536, wanted: true },
    { type: 'ended', sessionId: 1, error: { code: 'no.such_code', message: '' } },
    { type: 'taken' },
  ]
  for (const [index, message] of nonsense.entries()) {
    const socket = await openEcho(tunnel, client)
    const before = await program.pids()
    await program.say(message)
    await over(socket)
    await expect.poll(() => tunnel.refusals, patient).toHaveLength(index + 1)
    await expectEcho(tunnel, client)
    for (const pid of before) expect(await program.pids()).not.toContain(pid)
  }
  const { captureAgentId } = tunnel
  const what = 'the process of the connection said what it must not'
  expect(tunnel.refusals[0]).toMatchObject({
    kind: 'fault',
    what,
    captureAgentId,
    name: 'host-1',
    address: '127.0.0.1',
  })
})

test('connections that are on their way to a process that dies end with it', async () => {
  await using program = await MisbehavingProgram.make('./server/session-process.ts')
  await using tunnel = await TestTunnel.open({ program: program.url, processesMax: 1 })
  const client = tunnel.client()
  const before = await openEcho(tunnel, client)
  const [pid = 0] = await program.pids()
  process.kill(pid, 'SIGSTOP')
  const signal = AbortSignal.timeout(30_000)
  const sockets = await Promise.all(Array.from({ length: 5 }, async () => await tunnel.connect(PORT, signal)))
  // They have come to the server as soon as it has counted them.
  await expect.poll(() => tunnel.server.connected()[0]?.channels, patient).toBe(6)
  process.kill(pid, 'SIGKILL')
  for (const socket of [before, ...sockets]) await over(socket)
  await expectEcho(tunnel, client)
})

test("a process that speaks for another process's connection is ended, and the other goes on", async () => {
  await using program = await MisbehavingProgram.make('./server/session-process.ts')
  await using tunnel = await TestTunnel.open({ program: program.url, processesMax: 2 })
  const client = tunnel.client({ tunnels: 2 })
  await expect.poll(() => tunnel.server.connected()[0]?.tunnels, patient).toBe(2)
  expect(await program.pids()).toHaveLength(2)
  // True in the process that runs session 1, and none of the other's business.
  await program.say({ type: 'channels', sessionId: 1, channels: 0 })
  await expect.poll(() => tunnel.refusals, patient).toMatchObject([{ kind: 'fault' }])
  await expect.poll(() => client.state.tunnels, patient).toBe(2)
  expect(tunnel.refusals).toHaveLength(1)
  await expectEcho(tunnel, client)
})

test('a process that dials and says what it must not is ended with its tunnel, and replaced', async () => {
  await using program = await MisbehavingProgram.make('./client/dial-process.ts')
  await using tunnel = await TestTunnel.open()
  const client = tunnel.client({ program: program.url })
  for (const message of ['nonsense', null, { type: 'state' }, { type: 'target-known', orderId: 'x' }]) {
    const socket = await openEcho(tunnel, client)
    const told = client.state.lastError?.at
    await program.say(message)
    await over(socket)
    await expect.poll(() => client.state.lastError?.at, patient).not.toBe(told)
    expect(client.state.lastError).toMatchObject({ code: 'tunnel.process_failed' })
    await expectEcho(tunnel, client)
  }
  expect(tunnel.refusals).toEqual([])
})
