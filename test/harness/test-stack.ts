import { chmod, cp, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { type ApiClient, connectApi } from '@sendense/cli/api/api-client.ts'
import { KvmHost, type KvmVm } from '@sendense/edge-agent/platforms/kvm/kvm-host.ts'
import type { ManagedProcess } from '@sendense/infra/processes/managed-process.ts'
import { waitUntil } from '@sendense/infra/processes/wait-until.ts'
import { checkoutDir } from '@sendense/infra/stack/stack-paths.ts'
import { type Stack, type StackProcessName, startStack } from '@sendense/infra/stack/stack.ts'
import type { VmView } from '@sendense/shared/contracts/api/protection-api.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { GuestShell } from './guest-shell.ts'
import { OwnerApi } from './owner-api.ts'

export const resultsDir = path.join(checkoutDir, 'test-results')

const START_TIMEOUT_MS = 170_000
const INVENTORY_TIMEOUT_MS = 90_000

/** The whole product in a directory of its own, with its demo VM running and its owner logged in. */
export interface TestStack extends AsyncDisposable {
  readonly stack: Stack
  readonly owner: OwnerApi
  /** The demo VM as the cloud shows it. */
  readonly vm: VmView
  /** The demo VM on its host. */
  readonly host: KvmVm
  readonly guest: GuestShell
  /** For what a test writes beside the stack; removed with it. */
  readonly scratchDir: string
  process(name: StackProcessName): ManagedProcess
  /** Throws while the agent does not run. */
  agentPid(): number
  /** A VM of the host by its name; rejects with `source.vm_not_found`. */
  findHostVm(name: string): Promise<KvmVm>
}

export interface TestStackOptions {
  /** Names the logs that are kept under test-results/. */
  readonly name: string
  /** Called before anything starts; may lay a file system under the repository. */
  readonly prepare?: (stateDir: string) => Promise<void>
  /** Called after everything has ended. */
  readonly cleanUp?: (stateDir: string) => Promise<void>
}

export async function openTestStack(options: TestStackOptions): Promise<TestStack> {
  const signal = AbortSignal.timeout(START_TIMEOUT_MS)
  await using cleanup = new AsyncDisposableStack()
  const baseDir = await mkdtemp(path.join(tmpdir(), 'sendense-test-'))
  await chmod(baseDir, 0o755) // PostgreSQL runs as a user of its own
  const stateDir = path.join(baseDir, 'state')
  cleanup.defer(async () => {
    await options.cleanUp?.(stateDir)
    await rm(baseDir, { recursive: true, force: true })
  })
  await mkdir(stateDir)
  const scratchDir = path.join(baseDir, 'scratch')
  await mkdir(scratchDir)
  await options.prepare?.(stateDir)

  cleanup.defer(async () => await keepLogs(stateDir, options.name))
  const stack = cleanup.use(
    await startStack({
      stateDir,
      ports: 'free',
      demo: true,
      signal,
      log: (line) => console.log(`${options.name}: ${line}`),
    }),
  )
  const token = await logIn(stack)
  const forever = new AbortController()
  cleanup.defer(async () => forever.abort())
  const connection = cleanup.use(connectApi({ url: stack.portalUrl, token, signal: forever.signal }))
  const kvmHost = new KvmHost({ rootDir: stack.paths.kvmRoot, runtimeDir: stack.paths.kvmRuntimeDir })
  const demoName = stack.vm?.name ?? ''
  const host = await findHostVm(kvmHost, demoName)
  const vm = await waitForVm(connection.api, demoName, (view) => view.guestAgent && view.powerState === 'running')
  const owned = cleanup.move()
  return {
    stack,
    owner: new OwnerApi(connection.api),
    vm,
    host,
    guest: new GuestShell(host.guestAgentSocket),
    scratchDir,
    process: (name) => requireProcess(stack, name),
    agentPid: () => requirePid(requireProcess(stack, 'agent')),
    findHostVm: async (name) => await findHostVm(kvmHost, name),
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  }
}

async function logIn(stack: Stack): Promise<string> {
  await using anonymous = connectApi({ url: stack.portalUrl, signal: AbortSignal.timeout(30_000) })
  const credentials = { email: stack.ownerEmail, password: stack.ownerPassword }
  return (await anonymous.api.session.logIn.mutate(credentials)).token
}

/** The VM once an inventory brought it into a state; asks the agents for one again and again. */
export async function waitForVm(api: ApiClient, name: string, wanted: (view: VmView) => boolean): Promise<VmView> {
  const probe = async () => {
    const found = (await api.vm.list.query()).find((view) => view.name === name && view.present && wanted(view))
    if (found !== undefined) return found
    for (const { agentId } of await api.agent.list.query()) await api.agent.refreshInventory.mutate({ agentId })
    return undefined
  }
  const options = { signal: AbortSignal.timeout(INVENTORY_TIMEOUT_MS), timeoutMs: INVENTORY_TIMEOUT_MS, pauseMs: 1000 }
  return await waitUntil(`the inventory to show ${name}`, probe, options)
}

async function findHostVm(host: KvmHost, name: string): Promise<KvmVm> {
  const vm = await host.findByName(name)
  if (vm === undefined) throw new PlatformError('source.vm_not_found', `the host has no VM ${name}`)
  return vm
}

function requireProcess(stack: Stack, name: StackProcessName): ManagedProcess {
  const process = stack.processes[name]
  if (process === undefined) throw new PlatformError('stack.process_ended', `${name} is no part of this stack`)
  return process
}

function requirePid({ name, pid }: ManagedProcess): number {
  if (pid === undefined) throw new PlatformError('stack.process_ended', `${name} does not run`)
  return pid
}

async function keepLogs(stateDir: string, name: string): Promise<void> {
  const target = path.join(resultsDir, 'logs', name)
  await rm(target, { recursive: true, force: true })
  await cp(path.join(stateDir, 'logs'), target, { recursive: true }).catch((error: unknown) => {
    console.warn(`the logs of ${name} cannot be kept: ${String(error)}`)
  })
}
