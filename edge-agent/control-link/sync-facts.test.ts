import { randomUUID } from 'node:crypto'
import { type AgentCommand, commandClassOf } from '@sendense/shared/contracts/agent-command.ts'
import { expect, test } from 'vitest'
import type { InboxState } from '../catalog/command-inbox.ts'
import { createMemoryCatalogue } from '../catalog/memory/memory-catalogue.ts'
import { readSyncFacts } from './sync-facts.ts'

const signal = AbortSignal.timeout(30_000)

const verify = (jobId: string) =>
  ({ type: 'verify-restore-point', jobId, restorePointId: randomUUID(), repositoryId: randomUUID() }) as const

test('an order that no job was made of yet is in flight: the cloud must not take its job for lost', async () => {
  const catalogue = createMemoryCatalogue()
  const at = new Date('2026-01-01T00:00:00.000Z')
  const [waiting, running, ended] = [randomUUID(), randomUUID(), randomUUID()]
  const orders: [AgentCommand, InboxState][] = [
    [verify(ended), 'succeeded'],
    [verify(running), 'dispatched'],
    [verify(waiting), 'received'],
    [{ type: 'cancel-job', jobId: ended }, 'received'],
    [{ type: 'refresh-inventory' }, 'received'],
  ]
  await catalogue.transaction(
    async (tx) => {
      for (const [index, [command, state]] of orders.entries()) {
        const stamp = at.toISOString()
        const payload = {
          kind: 'command',
          version: 1,
          commandId: randomUUID(),
          agentId: randomUUID(),
          tenantId: randomUUID(),
          sequence: index + 1,
          class: commandClassOf[command.type],
          issuedAt: stamp,
          notBefore: stamp,
          expiresAt: stamp,
          command,
        } as const
        await tx.inbox.insert({ payload, state, receivedAt: at })
      }
      const job = { kind: 'verify', vmId: randomUUID(), revision: 0, attempt: 0, queuedAt: at } as const
      await tx.jobs.insert({ ...job, jobId: ended, arguments: verify(ended), state: 'succeeded' })
      await tx.jobs.insert({ ...job, jobId: running, arguments: verify(running), state: 'running' })
      await tx.outbox.append({ type: 'command-reported', commandId: randomUUID(), state: 'accepted' }, at)
    },
    { signal },
  )
  const facts = await readSyncFacts(catalogue, { signal })
  expect(facts).toMatchObject({ lastCommandSequence: 5, eventHighMark: 1 })
  expect(new Set(facts.jobsInFlight)).toEqual(new Set([waiting, running]))
})

test('the lowest event kept is the one after the high mark where none is kept', async () => {
  const catalogue = createMemoryCatalogue()
  const append = async () =>
    await catalogue.transaction(
      async (tx) =>
        await tx.outbox.append({ type: 'command-reported', commandId: randomUUID(), state: 'accepted' }, new Date()),
      { signal },
    )
  const trim = async (sequence: number) =>
    await catalogue.transaction(async (tx) => await tx.outbox.trim(sequence), { signal })
  const lowest = async () => (await readSyncFacts(catalogue, { signal })).eventLowestKept
  expect(await lowest()).toBe(1)
  await append()
  await append()
  expect(await lowest()).toBe(1)
  await trim(1)
  expect(await lowest()).toBe(2)
  await trim(2)
  expect(await lowest()).toBe(3)
})
