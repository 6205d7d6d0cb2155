import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { connectApi } from '@sendense/cli/api/api-client.ts'
import {
  connectTestAgent,
  createTestIdentity,
  enrolmentRequestOf,
  enrolOverHttp,
  type TestAgent,
} from '@sendense/cloud/testing/test-agent.ts'
import { startTestCloud, type TestCloud } from '@sendense/cloud/testing/test-cloud.ts'
import { waitUntil } from '@sendense/infra/processes/wait-until.ts'
import type { AgentEvent } from '@sendense/shared/contracts/agent-message.ts'
import type { VmReport } from '@sendense/shared/contracts/inventory.ts'
import type { z } from 'zod'
import { type CommandEnd, type CommandOptions, SendenseCommand } from './sendense-command.ts'

const COMMAND_TIMEOUT_MS = 30_000

export interface RaisedEvent {
  readonly at: string
  readonly event: AgentEvent
}

/** A cloud with an agent that runs nothing, and a command line whose user is logged in. */
export interface CommandCloud extends AsyncDisposable {
  readonly cloud: TestCloud
  readonly agent: TestAgent
  readonly homeDir: string
  /** Named `web-1`. Beside it the agent has two VMs named `twin`. */
  readonly vm: VmReport
  readonly repositoryId: string
  run(args: readonly string[], options?: CommandOptions): Promise<CommandEnd>
  /** What a command prints with --json; rejects where it does not end with 0. */
  json<T>(schema: z.ZodType<T>, ...args: string[]): Promise<T>
  /** Sends what the agent has to say next, in one batch. */
  report(events: readonly RaisedEvent[]): Promise<void>
}

export async function openCommandCloud(): Promise<CommandCloud> {
  await using stack = new AsyncDisposableStack()
  const homeDir = await mkdtemp(path.join(tmpdir(), 'sendense-home-'))
  stack.defer(async () => await rm(homeDir, { recursive: true, force: true }))
  const cloud = stack.use(await startTestCloud())
  const agent = stack.use(await enrolAgent(cloud))
  const sendense = new SendenseCommand({ homeDir, url: cloud.origin })
  let nextEvent = 1
  const product = {
    cloud,
    agent,
    homeDir,
    vm: newVm('web-1'),
    repositoryId: randomUUID(),
    run: async (args: readonly string[], options?: CommandOptions) =>
      await sendense.run(args, { timeoutMs: COMMAND_TIMEOUT_MS, ...options }),
    json: async <T>(schema: z.ZodType<T>, ...args: string[]) => {
      const end = await product.run([...args, '--json'])
      if (end.exitCode !== 0) throw new Error(`${args.join(' ')}: ${end.stderr}`)
      return schema.parse(JSON.parse(end.stdout))
    },
    report: async (raised: readonly RaisedEvent[]) => {
      const events = raised.map(({ at, event }, index) => ({ sequence: nextEvent + index, at, event }))
      nextEvent += events.length
      const sentAt = new Date().toISOString()
      await agent.send({ kind: 'events', version: 1, agentId: agent.agentId, bootEpoch: 1, sentAt, events })
    },
  }
  await reportInventory(product)
  await logIn(product)
  const owned = stack.move()
  return { ...product, [Symbol.asyncDispose]: async () => await owned.disposeAsync() }
}

function newVm(name: string): VmReport {
  return {
    vmId: randomUUID(),
    platform: 'kvm',
    platformRef: name,
    name,
    powerState: 'running',
    guestAgent: true,
    memoryBytes: 1024 ** 3,
    cpuCount: 2,
    disks: [{ diskId: 'disk0', sizeBytes: 10 * 1024 ** 3, changeTracking: true }],
  }
}

async function enrolAgent(cloud: TestCloud): Promise<TestAgent> {
  await using anonymous = connectApi({ url: cloud.origin, signal: AbortSignal.timeout(20_000) })
  const credentials = { email: cloud.demo.ownerEmail, password: cloud.password }
  const { token } = await anonymous.api.session.logIn.mutate(credentials)
  await using owner = connectApi({ url: cloud.origin, token, signal: AbortSignal.timeout(20_000) })
  const enrolment = await owner.api.agent.createEnrolmentToken.mutate({ siteId: cloud.demo.siteId })
  const identity = await createTestIdentity()
  const answer = await enrolOverHttp(cloud.origin, enrolmentRequestOf(identity, enrolment.token))
  return await connectTestAgent(identity, answer, cloud.broker.url)
}

type Unowned = Omit<CommandCloud, typeof Symbol.asyncDispose>

async function reportInventory({ report, vm, repositoryId }: Unowned): Promise<void> {
  const at = new Date().toISOString()
  const repository = { name: 'local', kind: 'qcow2-chain', location: '/srv', state: 'ready', checkedAt: at } as const
  const inventory = {
    takenAt: at,
    hostname: 'host-1',
    agentVersion: '0.1.0',
    vms: [vm, newVm('twin'), newVm('twin')],
    repositories: [{ repositoryId, ...repository }],
  }
  await report([{ at, event: { type: 'inventory-reported', inventory } }])
}

async function logIn({ run, cloud }: Unowned): Promise<void> {
  const args = ['login', '--email', cloud.demo.ownerEmail, '--password-stdin']
  const login = await run(args, { input: cloud.password })
  if (login.exitCode !== 0) throw new Error(login.stderr)
  const shown = async () => (await run(['vms'])).stdout.includes('web-1')
  await waitUntil('the inventory to arrive', shown, { signal: AbortSignal.timeout(20_000), timeoutMs: 20_000 })
}
