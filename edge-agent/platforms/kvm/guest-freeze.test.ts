import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { TestLineServer } from '../../qemu/test-line-server.ts'
import { thawGuest, withFrozenGuest } from './guest-freeze.ts'

const options = { signal: AbortSignal.timeout(20_000) }
const Command = z.object({ execute: z.string(), arguments: z.record(z.string(), z.unknown()).optional() })

/** A guest agent of this process: two file systems, and a log of what it was asked. */
class TestAgent implements AsyncDisposable {
  readonly log: string[] = []
  frozen = false
  /** Commands that are answered with an error. */
  readonly refused = new Set<string>()
  /** Commands that it does not know, or that its configuration disables. */
  readonly disabled = new Set<string>()
  /** Connections that are cut at their first command. */
  cuts = 0
  server: TestLineServer | undefined

  static async open(): Promise<TestAgent> {
    const agent = new TestAgent()
    agent.server = await TestLineServer.open({
      handle: (line, reply, socket) => {
        if (agent.cuts > 0) {
          agent.cuts--
          socket.destroy()
        } else {
          reply(agent.#answer(line))
        }
      },
    })
    return agent
  }

  get path(): string {
    return this.server?.path ?? ''
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server?.[Symbol.asyncDispose]()
  }

  #answer(line: string): string {
    const { execute, arguments: args } = Command.parse(JSON.parse(line))
    if (execute === 'guest-sync-delimited') return `\u00FF{"return": ${String(args?.['id'])}}\n`
    this.log.push(execute)
    if (this.refused.has(execute)) return '{"error": {"class": "GenericError", "desc": "no"}}\n'
    if (this.disabled.has(execute)) return '{"error": {"class": "CommandNotFound", "desc": "disabled"}}\n'
    if (execute === 'guest-fsfreeze-status') return `{"return": "${this.frozen ? 'frozen' : 'thawed'}"}\n`
    this.frozen = execute === 'guest-fsfreeze-freeze'
    return '{"return": 2}\n'
  }
}

test('the instant is taken between freeze and thaw', async () => {
  await using agent = await TestAgent.open()
  const outcome = await withFrozenGuest(agent.path, async () => agent.frozen, options)
  expect(outcome).toEqual({ value: true, consistency: 'filesystem' })
  expect(agent.frozen).toBe(false)
})

test('an instant that fails is thawed all the same', async () => {
  await using agent = await TestAgent.open()
  const failing = withFrozenGuest(
    agent.path,
    async () => {
      throw new PlatformError('qemu.timeout', 'late')
    },
    options,
  )
  await expect(failing).rejects.toMatchObject({ code: 'qemu.timeout' })
  expect(agent.log).toContain('guest-fsfreeze-freeze')
  expect(agent.frozen).toBe(false)
})

test('a cancelled backup leaves no guest frozen', async () => {
  await using agent = await TestAgent.open()
  const stop = new AbortController()
  const cancelled = withFrozenGuest(
    agent.path,
    async () => {
      stop.abort(new Error('cancelled'))
      stop.signal.throwIfAborted()
    },
    { signal: stop.signal },
  )
  await expect(cancelled).rejects.toThrow('cancelled')
  expect(agent.log).toContain('guest-fsfreeze-freeze')
  expect(agent.frozen).toBe(false)
})

test('a guest that refuses to freeze is backed up as it runs', async () => {
  await using agent = await TestAgent.open()
  agent.refused.add('guest-fsfreeze-freeze')
  const outcome = await withFrozenGuest(agent.path, async () => 'taken', options)
  expect(outcome).toEqual({ value: 'taken', consistency: 'crash' })
})

test('a guest whose agent has no freezing at all is backed up as it runs', async () => {
  await using agent = await TestAgent.open()
  for (const command of ['freeze', 'status', 'thaw']) agent.disabled.add(`guest-fsfreeze-${command}`)
  const outcome = await withFrozenGuest(agent.path, async () => 'taken', options)
  expect(outcome).toEqual({ value: 'taken', consistency: 'crash' })
})

test('a guest that was frozen before is thawed, though its agent refuses the freeze as unknown', async () => {
  await using agent = await TestAgent.open()
  agent.frozen = true
  agent.disabled.add('guest-fsfreeze-freeze')
  const outcome = await withFrozenGuest(agent.path, async () => agent.frozen, options)
  expect(outcome).toEqual({ value: false, consistency: 'crash' })
})

test('a freeze that failed in another way is no backup while the thaw is refused', async () => {
  await using agent = await TestAgent.open()
  agent.refused.add('guest-fsfreeze-freeze')
  agent.disabled.add('guest-fsfreeze-status')
  const outcome = withFrozenGuest(agent.path, async () => 'taken', options)
  await expect(outcome).rejects.toMatchObject({ code: 'source.snapshot_failed' })
})

test('a freeze that ended before the thaw is no consistency', async () => {
  await using agent = await TestAgent.open()
  const outcome = await withFrozenGuest(
    agent.path,
    async () => {
      agent.frozen = false
    },
    options,
  )
  expect(outcome.consistency).toBe('crash')
})

test('thawing is tried again when the agent hangs up', async () => {
  await using agent = await TestAgent.open()
  agent.frozen = true
  agent.cuts = 2
  expect(await thawGuest(agent.path)).toBe(2)
  expect(agent.frozen).toBe(false)
})

test('a guest that cannot be thawed is an error, not silence', async () => {
  await using agent = await TestAgent.open()
  agent.refused.add('guest-fsfreeze-thaw')
  agent.frozen = true
  await expect(thawGuest(agent.path, 1)).rejects.toMatchObject({ code: 'source.snapshot_failed' })
})
