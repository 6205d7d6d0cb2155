import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, open, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { KvmHost, type KvmVm } from '@sendense/edge-agent/platforms/kvm/kvm-host.ts'
import { QgaClient } from '@sendense/edge-agent/qemu/qga-client.ts'
import { waitUntil } from '@sendense/infra/processes/wait-until.ts'
import { checkoutDir } from '@sendense/infra/stack/stack-paths.ts'
import { HostNamespace } from './host-namespace.ts'

const EDGE_CLI = path.join(checkoutDir, 'edge-agent/cli/main.ts')

/** A KVM host of its own, with its VMs and its capture agent as a customer runs them, behind a wire that can be pulled. */
export class CaptureMachine implements AsyncDisposable {
  readonly network: HostNamespace
  readonly #dir: string
  readonly #kvm: KvmHost
  #capture: ChildProcess | undefined

  private constructor(network: HostNamespace, dir: string) {
    this.network = network
    this.#dir = dir
    this.#kvm = new KvmHost({ rootDir: path.join(dir, 'vms'), runtimeDir: path.join(dir, 'run') })
  }

  static async open(): Promise<CaptureMachine> {
    const dir = await mkdtemp(path.join(tmpdir(), 'sd-kvm1-'))
    return new CaptureMachine(await HostNamespace.open(), dir)
  }

  /** Where the capture agent keeps which guests may be frozen. */
  get marksDir(): string {
    return path.join(this.#stateDir, 'run', 'frozen')
  }

  /** Runs `sendense-edge capture` over there and returns what it prints. */
  async capture(...args: string[]): Promise<string> {
    return await this.network.run(process.execPath, EDGE_CLI, 'capture', ...args, '--state-dir', this.#stateDir)
  }

  /** Runs `sendense-edge kvm` over there. */
  async kvm(...args: string[]): Promise<string> {
    const { rootDir, runtimeDir } = this.#kvm
    const place = ['--root', rootDir, '--runtime-dir', runtimeDir]
    return await this.network.run(process.execPath, EDGE_CLI, 'kvm', ...args, ...place)
  }

  async findVm(name: string): Promise<KvmVm> {
    const vm = await this.#kvm.findByName(name)
    if (vm === undefined) throw new Error(`the host has no VM ${name}`)
    return vm
  }

  /** Resolves when the edge agent has reached it. */
  async startCapture(): Promise<void> {
    const { rootDir, runtimeDir } = this.#kvm
    const place = ['--kvm-root', rootDir, '--kvm-runtime-dir', runtimeDir, '--state-dir', this.#stateDir]
    const { file, args } = this.network.command(process.execPath, EDGE_CLI, 'capture', 'run', ...place)
    await using log = await open(path.join(this.#dir, 'capture.log'), 'a')
    this.#capture = spawn(file, args, { stdio: ['ignore', log.fd, log.fd] })
    await once(this.#capture, 'spawn')
    const isReached = async () => (await this.capture('status')).includes('the edge agent is here')
    await waitUntil('the edge agent to reach the capture agent', isReached, within(60_000))
  }

  /** As a crash does. Resolves when it is gone. */
  async killCapture(): Promise<void> {
    await this.#endCapture('SIGKILL')
  }

  /** Whether the guest's file systems are frozen, as its own agent says. */
  async isGuestFrozen({ guestAgentSocket }: KvmVm): Promise<boolean> {
    const options = { signal: AbortSignal.timeout(30_000), timeoutMs: 10_000 }
    await using agent = await QgaClient.connect(guestAgentSocket, options)
    return await agent.isFrozen(options)
  }

  /** Process ids of what holds that guest frozen. */
  async keeperPids({ guestAgentSocket }: KvmVm): Promise<number[]> {
    const found = []
    for (const pid of (await readdir('/proc')).map(Number).filter(Number.isInteger)) {
      const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
      const [, program = '', socket] = commandLine.split('\0')
      if (program.endsWith('/freeze-keeper.ts') && socket === guestAgentSocket) found.push(pid)
    }
    return found
  }

  /** Stops everything over there. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#endCapture('SIGTERM')
    await this.kvm('stop', '--all').catch((error: unknown) => console.warn(`VMs may still run: ${String(error)}`))
    await this.network[Symbol.asyncDispose]()
    await rm(this.#dir, { recursive: true, force: true })
  }

  get #stateDir(): string {
    return path.join(this.#dir, 'state')
  }

  /** `ip netns exec` becomes the command it runs, so the process is the capture agent itself. */
  async #endCapture(signal: NodeJS.Signals): Promise<void> {
    const capture = this.#capture
    this.#capture = undefined
    if (capture === undefined || capture.exitCode !== null || capture.signalCode !== null) return
    const ended = once(capture, 'exit')
    capture.kill(signal)
    await ended
  }
}

export function within(timeoutMs: number): { signal: AbortSignal; timeoutMs: number } {
  return { signal: AbortSignal.timeout(timeoutMs), timeoutMs }
}
