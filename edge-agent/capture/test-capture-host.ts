import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { KvmTestHost } from '../platforms/kvm/kvm-test-host.ts'
import { type CaptureAgent, type CaptureAgentOptions, openCaptureAgent } from './capture-agent.ts'
import { RemoteVmHost, type RemoteVmHostOptions } from './remote-vm-host.ts'
import { TestTunnel } from './test-tunnel.ts'

export const TEST_PORTS = [1, 2, 3, 4, 5, 6] as const

/** A KVM host with a capture agent of this process, behind what stands in for a tunnel. */
export class TestCaptureHost implements AsyncDisposable {
  readonly kvm: KvmTestHost
  readonly tunnel: TestTunnel
  readonly #dir: string
  readonly #more: Partial<CaptureAgentOptions>
  #agent: CaptureAgent | undefined
  #hosts: RemoteVmHost[] = []

  private constructor(
    parts: { readonly kvm: KvmTestHost; readonly tunnel: TestTunnel; readonly dir: string },
    more: Partial<CaptureAgentOptions>,
  ) {
    this.kvm = parts.kvm
    this.tunnel = parts.tunnel
    this.#dir = parts.dir
    this.#more = more
  }

  static async open(more: Partial<CaptureAgentOptions> = {}): Promise<TestCaptureHost> {
    const dir = await mkdtemp(join(tmpdir(), 'sd-cap-'))
    const tunnel = await TestTunnel.open(join(dir, 'ports'), TEST_PORTS)
    const made = new TestCaptureHost({ kvm: await KvmTestHost.open(), tunnel, dir }, more)
    await made.startAgent()
    return made
  }

  get stateDir(): string {
    return join(this.#dir, 'state')
  }

  get agent(): CaptureAgent {
    if (this.#agent === undefined) throw new Error('no capture agent runs')
    return this.#agent
  }

  /** The host as an edge agent has it. */
  connect(more: Partial<RemoteVmHostOptions> = {}): RemoteVmHost {
    const host = new RemoteVmHost({
      captureAgentId: '0c0ffee0-0000-4000-8000-000000000001',
      name: 'kvm1',
      ports: [...TEST_PORTS],
      socketPath: (port) => this.tunnel.socketPath(port),
      patienceMs: 20_000,
      ...more,
    })
    this.#hosts.push(host)
    return host
  }

  async startAgent(): Promise<void> {
    const { rootDir, runtimeDir } = this.kvm.host
    this.#agent = await openCaptureAgent({
      hostName: 'kvm1',
      version: '0.0.0',
      kvm: { rootDir, runtimeDir },
      stateDir: this.stateDir,
      ports: [...TEST_PORTS],
      setTarget: async (port, target) => await this.tunnel.setTarget(port, target),
      tunnelState: () => ({ state: 'connected', tunnels: 1, tunnelsWanted: 1, lastError: undefined }),
      logger: createLogger('test', 'silent'),
      ...this.#more,
    })
  }

  async stopAgent(): Promise<void> {
    await this.#agent?.[Symbol.asyncDispose]()
    this.#agent = undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const host of this.#hosts) await host[Symbol.asyncDispose]()
    await this.stopAgent()
    await this.kvm[Symbol.asyncDispose]()
    await this.tunnel[Symbol.asyncDispose]()
    await rm(this.#dir, { recursive: true, force: true })
  }
}
