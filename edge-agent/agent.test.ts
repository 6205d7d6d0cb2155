import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type AgentParts, work } from './agent.ts'
import { createMemoryCatalogue } from './catalog/memory/memory-catalogue.ts'
import { openAgentIdentity } from './control-link/agent-identity.ts'
import { PlatformRegistry } from './jobs/platform-registry.ts'
import { RepositoryRegistry } from './jobs/repository-registry.ts'

const logger = createLogger('test', 'silent')
/** Waits of minutes take milliseconds here. */
const clock: Clock = { ...systemClock, sleep: async (_ms, options) => await systemClock.sleep(5, options) }
let stateDir: string
beforeEach(async () => {
  stateDir = await mkdtemp(path.join(tmpdir(), 'sd-'))
})
afterEach(async () => await rm(stateDir, { recursive: true, force: true }))

/** An agent that no broker takes: the link tries again and again beside the work. */
async function openParts() {
  const trustRoot = { version: 1, keys: [] }
  const enrolment = {
    agentId: randomUUID(),
    tenantId: randomUUID(),
    siteName: 'site',
    certificateChain: '',
    brokerCa: '',
    brokerUrls: ['mqtts://127.0.0.1:1'],
    trustRoot,
  }
  const catalogue = createMemoryCatalogue()
  const parts: AgentParts = {
    catalogue,
    identity: await openAgentIdentity(stateDir),
    enrolment,
    bootEpoch: 1,
    platforms: new PlatformRegistry([]),
    repositories: new RepositoryRegistry([], { clock, logger }),
    clock,
  }
  return { parts, catalogue, enrolment }
}

test('an agent that cannot begin its work ends with the cause, and its link with it', async () => {
  const { parts, catalogue } = await openParts()
  catalogue.unavailable = true
  const stop = new AbortController()
  const working = work({ jobsMax: 1, logger, signal: stop.signal, onFatal: fail }, parts)
  try {
    await expect(within(5000, working)).rejects.toMatchObject({ code: 'database.unavailable' })
  } finally {
    stop.abort()
    await working.catch(() => undefined)
  }
})

test('a command that was durable and never announced is run all the same', async () => {
  const { parts, catalogue, enrolment } = await openParts()
  const signal = AbortSignal.timeout(10_000)
  const stop = new AbortController()
  const working = work({ jobsMax: 1, logger, signal: stop.signal, onFatal: fail }, parts)
  try {
    const reported = async (type: string) => {
      const list = await catalogue.transaction(async (tx) => await tx.outbox.list({ after: 0, limit: 100 }), { signal })
      return list.flatMap(({ event }) => (event.type === type ? [event] : []))
    }
    await vi.waitFor(async () => expect(await reported('inventory-reported')).not.toEqual([]), 5000)
    const commandId = randomUUID()
    const at = new Date().toISOString()
    const times = { issuedAt: at, notBefore: at, expiresAt: at }
    const head = { kind: 'command', version: 1, commandId, sequence: 1, class: 'read', ...times } as const
    const { agentId, tenantId } = enrolment
    const payload = { ...head, agentId, tenantId, command: { type: 'refresh-inventory' } } as const
    // Not before the first look at the inbox is over.
    await systemClock.sleep(50, { signal })
    await catalogue.transaction(
      async (tx) => await tx.inbox.insert({ payload, state: 'received', receivedAt: new Date() }),
      { signal },
    )
    await vi.waitFor(async () => expect(await reported('command-reported')).toMatchObject([{ commandId }]), 5000)
  } finally {
    stop.abort()
    await working
  }
})

function fail(error: unknown): void {
  throw error
}

async function within<T>(milliseconds: number, working: Promise<T>): Promise<T> {
  const tooLong = async (): Promise<never> => {
    await systemClock.sleep(milliseconds, { signal: AbortSignal.timeout(milliseconds * 2) })
    throw new Error(`it does not end within ${milliseconds} ms`)
  }
  return await Promise.race([working, tooLong()])
}
