import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { expect, test } from 'vitest'
import { TestGuestAgent } from '../../qemu/test-guest-agent.ts'
import { openGuestFreezer, thawGuest, withFrozenGuest } from './guest-freeze.ts'

const options = { signal: AbortSignal.timeout(20_000) }

test('the instant is taken between freeze and thaw', async () => {
  await using agent = await TestGuestAgent.open()
  const outcome = await withFrozenGuest(openGuestFreezer(agent.path), async () => agent.frozen, options)
  expect(outcome).toEqual({ value: true, consistency: 'filesystem' })
  expect(agent.frozen).toBe(false)
})

test('an instant that fails is thawed all the same', async () => {
  await using agent = await TestGuestAgent.open()
  const failing = withFrozenGuest(
    openGuestFreezer(agent.path),
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
  await using agent = await TestGuestAgent.open()
  const stop = new AbortController()
  const cancelled = withFrozenGuest(
    openGuestFreezer(agent.path),
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
  await using agent = await TestGuestAgent.open()
  agent.refused.add('guest-fsfreeze-freeze')
  const outcome = await withFrozenGuest(openGuestFreezer(agent.path), async () => 'taken', options)
  expect(outcome).toEqual({ value: 'taken', consistency: 'crash' })
})

test('a guest whose agent has no freezing at all is backed up as it runs', async () => {
  await using agent = await TestGuestAgent.open()
  for (const command of ['freeze', 'status', 'thaw']) agent.disabled.add(`guest-fsfreeze-${command}`)
  const outcome = await withFrozenGuest(openGuestFreezer(agent.path), async () => 'taken', options)
  expect(outcome).toEqual({ value: 'taken', consistency: 'crash' })
})

test('a guest that was frozen before is thawed, though its agent refuses the freeze as unknown', async () => {
  await using agent = await TestGuestAgent.open()
  agent.frozen = true
  agent.disabled.add('guest-fsfreeze-freeze')
  const outcome = await withFrozenGuest(openGuestFreezer(agent.path), async () => agent.frozen, options)
  expect(outcome).toEqual({ value: false, consistency: 'crash' })
})

test('a freeze that failed in another way is no backup while the thaw is refused', async () => {
  await using agent = await TestGuestAgent.open()
  agent.refused.add('guest-fsfreeze-freeze')
  agent.disabled.add('guest-fsfreeze-status')
  const outcome = withFrozenGuest(openGuestFreezer(agent.path), async () => 'taken', options)
  await expect(outcome).rejects.toMatchObject({ code: 'source.snapshot_failed' })
})

test('a freeze that ended before the thaw is no consistency', async () => {
  await using agent = await TestGuestAgent.open()
  const outcome = await withFrozenGuest(
    openGuestFreezer(agent.path),
    async () => {
      agent.frozen = false
    },
    options,
  )
  expect(outcome.consistency).toBe('crash')
})

test('thawing is tried again when the agent hangs up', async () => {
  await using agent = await TestGuestAgent.open()
  agent.frozen = true
  agent.cuts = 2
  expect(await thawGuest(agent.path)).toBe(2)
  expect(agent.frozen).toBe(false)
})

test('a guest that cannot be thawed is an error, not silence', async () => {
  await using agent = await TestGuestAgent.open()
  agent.refused.add('guest-fsfreeze-thaw')
  agent.frozen = true
  await expect(thawGuest(agent.path, 1)).rejects.toMatchObject({ code: 'source.snapshot_failed' })
})
