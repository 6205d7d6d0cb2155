import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import { expect, test } from 'vitest'
import { createMemoryRepositoryStore, openMemoryRepository } from '../repository/memory/memory-repository.ts'
import { RepositoryRegistry } from './repository-registry.ts'

const clock = systemClock
const logger = createLogger('test', 'silent')
const signal = AbortSignal.timeout(15_000)

/** Its storage answers when `mount` is called. */
function openScene() {
  const storage = createMemoryRepositoryStore({ chunkSizeBytes: 65_536 })
  const { repositoryId } = storage
  const { promise: mounted, resolve: mount } = Promise.withResolvers<void>()
  const record = { repositoryId, name: 'local', kind: 'qcow2-chain', location: 'memory' } as const
  const open = async (options: { signal: AbortSignal }) => {
    await untilAborted(mounted, options.signal)
    return openMemoryRepository(storage, { clock })
  }
  return { repositoryId, mount, registry: new RepositoryRegistry([{ record, open }], { clock, logger }) }
}

test('who asked first and gives up leaves the repository to the others', async () => {
  const { repositoryId, mount, registry } = openScene()
  await using _registry = registry
  const first = new AbortController()
  const given = registry.get(repositoryId, { signal: first.signal })
  const kept = registry.get(repositoryId, { signal })
  first.abort(new Error('cancelled'))
  await expect(given).rejects.toThrow('cancelled')
  mount()
  expect((await kept).repositoryId).toBe(repositoryId)
})

test('who waits for an opening that another one began can give up', async () => {
  const { repositoryId, mount, registry } = openScene()
  await using _registry = registry
  const second = new AbortController()
  const kept = registry.get(repositoryId, { signal })
  const given = registry.get(repositoryId, { signal: second.signal })
  second.abort(new Error('cancelled'))
  await expect(given).rejects.toThrow('cancelled')
  mount()
  expect((await kept).repositoryId).toBe(repositoryId)
})

test('disposing ends an opening that is under way', async () => {
  const { repositoryId, registry } = openScene()
  const [ended] = await Promise.allSettled([registry.get(repositoryId, { signal }), registry[Symbol.asyncDispose]()])
  expect(ended).toMatchObject({ status: 'rejected', reason: { code: 'internal.cancelled' } })
  await expect(registry.get(repositoryId, { signal })).rejects.toMatchObject({ code: 'internal.cancelled' })
})

async function refuse(): Promise<never> {
  return await Promise.reject(new Error('not needed'))
}

test('a repository with a rate has one throttle for all copies, at the rate of now', async () => {
  const { repositoryId } = openScene()
  const record = { repositoryId, name: 'local', kind: 'qcow2-chain', location: 'memory' } as const
  const rate = { zone: 'UTC', windows: [], otherwiseBytesPerSecond: 1000 }
  await using limited = new RepositoryRegistry([{ record, open: refuse, rate }], { clock, logger })
  const [throttle, ...more] = limited.throttles(repositoryId)
  expect(throttle?.bytesPerSecond).toBe(1000)
  expect(more).toEqual([])
  expect(limited.throttles(repositoryId)[0]).toBe(throttle)
  await using unlimited = new RepositoryRegistry([{ record, open: refuse }], { clock, logger })
  expect(unlimited.throttles(repositoryId)).toEqual([])
})
