import { AgentEvent } from '@sendense/shared/contracts/agent-message.ts'
import type { JobLogEntry } from '@sendense/shared/contracts/job.ts'
import type { CaptureAgentRecord, CaptureAgentStore, CaptureTokenRecord } from '../capture-agent-store.ts'
import type { CatalogueTransaction } from '../catalogue.ts'
import type { CommandInbox, InboxEntry } from '../command-inbox.ts'
import type { EventOutbox, OutboxEvent } from '../event-outbox.ts'
import type { JobRecord, JobStore } from '../job-store.ts'
import type { RepositoryRecord } from '../repository-store.ts'
import type { RestorePointRecord, RestorePointStore } from '../restore-point-store.ts'
import type { VmContextRecord, VmContextStore } from '../vm-context-store.ts'

export interface MemoryState {
  readonly settings: Map<string, number>
  readonly vms: Map<string, VmContextRecord>
  readonly jobs: Map<string, JobRecord>
  readonly logs: Map<string, JobLogEntry[]>
  readonly restorePoints: Map<string, RestorePointRecord>
  readonly repositories: Map<string, RepositoryRecord>
  readonly captureAgents: Map<string, CaptureAgentRecord>
  readonly captureTokens: Map<string, CaptureTokenRecord>
  readonly inbox: Map<string, InboxEntry>
  commandSequence: number
  outbox: OutboxEvent[]
  eventSequence: number
}

export function createMemoryState(): MemoryState {
  return {
    settings: new Map(),
    vms: new Map(),
    jobs: new Map(),
    logs: new Map(),
    restorePoints: new Map(),
    repositories: new Map(),
    captureAgents: new Map(),
    captureTokens: new Map(),
    inbox: new Map(),
    commandSequence: 0,
    outbox: [],
    eventSequence: 0,
  }
}

/** The stores over one copy of the state; the caller keeps or drops the copy. */
export function createMemoryTransaction(state: MemoryState): CatalogueTransaction {
  return {
    settings: {
      getNumber: async (key) => state.settings.get(key) ?? 0,
      setNumber: async (key, value) => void state.settings.set(key, value),
    },
    vms: createVmStore(state),
    jobs: createJobStore(state),
    restorePoints: createRestorePointStore(state),
    repositories: {
      find: async (repositoryId) => state.repositories.get(repositoryId),
      list: async () => [...state.repositories.values()].toSorted(byName),
      put: async (record) => void state.repositories.set(record.repositoryId, record),
    },
    captureAgents: createCaptureAgentStore(state),
    inbox: createInbox(state),
    outbox: createOutbox(state),
  }
}

function createVmStore(state: MemoryState): VmContextStore {
  return {
    find: async (vmId) => state.vms.get(vmId),
    findByRef: async (platform, platformRef) =>
      [...state.vms.values()].find((vm) => vm.platform === platform && vm.platformRef === platformRef),
    list: async () => [...state.vms.values()].toSorted(byName),
    put: async (facts) => {
      const before = state.vms.get(facts.vmId)
      const disks = facts.disks.map((disk) => {
        const tracking = before?.disks.find((other) => other.diskId === disk.diskId)?.tracking
        return tracking === undefined ? { ...disk } : { ...disk, tracking }
      })
      state.vms.set(facts.vmId, { ...facts, disks })
    },
    setTracking: async (vmId, tracking) => {
      const vm = state.vms.get(vmId)
      if (vm === undefined) return
      const disks = vm.disks.map(({ tracking: _old, ...disk }) => {
        const fresh = tracking.get(disk.diskId)
        return fresh === undefined ? disk : { ...disk, tracking: fresh }
      })
      state.vms.set(vmId, { ...vm, disks })
    },
  }
}

function createJobStore(state: MemoryState): JobStore {
  return {
    find: async (jobId) => state.jobs.get(jobId),
    insert: async (record) => {
      if (!state.jobs.has(record.jobId)) state.jobs.set(record.jobId, record)
    },
    update: async (record) => void state.jobs.set(record.jobId, record),
    list: async ({ states, vmId, kind, newestFirst: reverse = false, limit }) =>
      [...state.jobs.values()]
        .filter((job) => states === undefined || states.includes(job.state))
        .filter((job) => vmId === undefined || job.vmId === vmId)
        .filter((job) => kind === undefined || job.kind === kind)
        .toSorted((a, b) => (reverse ? byQueueTime(b, a) : byQueueTime(a, b)))
        .slice(0, limit),
    appendLog: async (jobId, entry) => {
      const log = state.logs.get(jobId) ?? []
      if (log.every((other) => other.sequence !== entry.sequence)) log.push(entry)
      state.logs.set(jobId, log)
    },
    listLog: async (jobId) => (state.logs.get(jobId) ?? []).toSorted((a, b) => a.sequence - b.sequence),
  }
}

function createRestorePointStore(state: MemoryState): RestorePointStore {
  const sorted = () => [...state.restorePoints.values()].toSorted(newestFirst)
  const change = (restorePointId: string, work: (point: RestorePointRecord) => RestorePointRecord): void => {
    const point = state.restorePoints.get(restorePointId)
    if (point !== undefined) state.restorePoints.set(restorePointId, work(point))
  }
  return {
    find: async (restorePointId) => state.restorePoints.get(restorePointId),
    findByJob: async (jobId) => sorted().find((point) => point.jobId === jobId),
    findNewest: async (vmId, repositoryId) =>
      sorted().find((point) => point.vmId === vmId && point.repositoryId === repositoryId),
    list: async ({ vmId, repositoryId, limit }) =>
      sorted()
        .filter((point) => vmId === undefined || point.vmId === vmId)
        .filter((point) => repositoryId === undefined || point.repositoryId === repositoryId)
        .slice(0, limit),
    insert: async (record) => {
      if (state.restorePoints.has(record.restorePointId)) return false
      state.restorePoints.set(record.restorePointId, record)
      return true
    },
    setVerification: async (report) => {
      change(report.restorePointId, (point) => ({ ...point, verification: report }))
    },
    setDeleting: async (restorePointId, since) => {
      change(restorePointId, ({ deletingSince: _old, ...point }) =>
        since === undefined ? point : { ...point, deletingSince: since },
      )
    },
    listDeleting: async (repositoryId) =>
      sorted()
        .filter((point) => point.repositoryId === repositoryId && point.deletingSince !== undefined)
        .toReversed(),
    setHold: async (restorePointId, hold) => {
      change(restorePointId, ({ hold: _old, ...point }) => (hold === undefined ? point : { ...point, hold }))
    },
    remove: async (restorePointId) => void state.restorePoints.delete(restorePointId),
  }
}

function createCaptureAgentStore({ captureAgents, captureTokens }: MemoryState): CaptureAgentStore {
  const agents = () => [...captureAgents.values()]
  return {
    list: async () => agents().toSorted((a, b) => byName(a, b) || a.enrolledAt.getTime() - b.enrolledAt.getTime()),
    findByKey: async (keyFingerprint) => agents().find((agent) => agent.keyFingerprint === keyFingerprint),
    insert: async (record) => {
      const isThere = agents().some(({ keyFingerprint }) => keyFingerprint === record.keyFingerprint)
      if (!isThere && !captureAgents.has(record.captureAgentId)) captureAgents.set(record.captureAgentId, record)
    },
    revoke: async (captureAgentId, at) => {
      const agent = captureAgents.get(captureAgentId)
      if (agent !== undefined) captureAgents.set(captureAgentId, { ...agent, revokedAt: agent.revokedAt ?? at })
      return agent !== undefined
    },
    insertToken: async (token) => {
      if (!captureTokens.has(token.secretHash)) captureTokens.set(token.secretHash, token)
    },
    findToken: async (secretHash) => captureTokens.get(secretHash),
    setTokenUsed: async (secretHash, keyFingerprint) => {
      const token = captureTokens.get(secretHash)
      if (token !== undefined) captureTokens.set(secretHash, { ...token, usedBy: keyFingerprint })
    },
    trimTokens: async (before) => {
      for (const token of captureTokens.values()) {
        if (token.expiresAt < before) captureTokens.delete(token.secretHash)
      }
    },
  }
}

function createInbox(state: MemoryState): CommandInbox {
  return {
    find: async (commandId) => state.inbox.get(commandId),
    insert: async (entry) => {
      if (state.inbox.has(entry.payload.commandId)) return
      state.inbox.set(entry.payload.commandId, entry)
      state.commandSequence = Math.max(state.commandSequence, entry.payload.sequence)
    },
    setState: async (commandId, next) => {
      const entry = state.inbox.get(commandId)
      if (entry !== undefined) state.inbox.set(commandId, { ...entry, state: next })
    },
    listReceived: async (limit) =>
      [...state.inbox.values()]
        .filter((entry) => entry.state === 'received')
        .toSorted((a, b) => a.payload.sequence - b.payload.sequence)
        .slice(0, limit),
    lastSequence: async () => state.commandSequence,
    trim: async (before) => {
      for (const [commandId, entry] of state.inbox) {
        const open = entry.state === 'received' || entry.state === 'dispatched'
        if (!open && entry.receivedAt < before) state.inbox.delete(commandId)
      }
    },
  }
}

function createOutbox(state: MemoryState): EventOutbox {
  return {
    append: async (event, at) => {
      state.eventSequence += 1
      state.outbox.push({ sequence: state.eventSequence, at, event: AgentEvent.parse(event) })
      return state.eventSequence
    },
    list: async ({ after, limit }) => state.outbox.filter((entry) => entry.sequence > after).slice(0, limit),
    highMark: async () => state.eventSequence,
    trim: async (sequence) => {
      state.outbox = state.outbox.filter((entry) => entry.sequence > sequence)
    },
    moveBehind: async (sequence) => {
      let next = sequence
      state.outbox = state.outbox.map((entry) => ({ ...entry, sequence: ++next }))
      state.eventSequence = Math.max(next, sequence)
    },
  }
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name.localeCompare(b.name)
}

function newestFirst(a: RestorePointRecord, b: RestorePointRecord): number {
  return Date.parse(b.takenAt) - Date.parse(a.takenAt) || (a.restorePointId < b.restorePointId ? 1 : -1)
}

function byQueueTime(a: JobRecord, b: JobRecord): number {
  return a.queuedAt.getTime() - b.queuedAt.getTime() || (a.jobId < b.jobId ? -1 : 1)
}
