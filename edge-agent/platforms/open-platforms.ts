import type { PlatformKind } from '@sendense/shared/domain/platform.ts'
import { KvmHost } from './kvm/kvm-host.ts'
import { KvmSourceConnector } from './kvm/kvm-source-connector.ts'
import { KvmTargetConnector } from './kvm/kvm-target-connector.ts'
import { KvmTargets } from './kvm/kvm-targets.ts'
import { LocalVmHost } from './kvm/local-vm-host.ts'
import type { VmHost } from './kvm/vm-host.ts'
import { VmMonitors } from './kvm/vm-monitors.ts'
import type { SourceConnector } from './source-connector.ts'
import type { TargetConnector } from './target-connector.ts'

/** A host that is reached by a way of its own. */
export interface FarKvmHost {
  readonly host: VmHost
  /** The connector that makes VMs there, always the same one. It shares the monitors, which stay the caller's. */
  readonly openTarget: (monitors: VmMonitors) => TargetConnector
}

export interface PlatformSettings {
  /** Plain QEMU on the agent's own machine; absent: none. */
  readonly kvm: { readonly rootDir: string; readonly runtimeDir: string } | undefined
  /** Plain-QEMU hosts elsewhere, as they are now. Absent: the agent knows of none, ever. */
  readonly kvmHosts?: (() => readonly FarKvmHost[]) | undefined
}

export interface OpenPlatform {
  readonly kind: PlatformKind
  readonly source: SourceConnector
  readonly target?: TargetConnector
  /** What both sides stand on; to be disposed after them. */
  readonly ground?: AsyncDisposable
}

/** Connectors of every platform that is set up: the one place where a new platform joins. */
export function openPlatforms({ kvm, kvmHosts }: PlatformSettings): OpenPlatform[] {
  const platforms: OpenPlatform[] = []
  if (kvm !== undefined || kvmHosts !== undefined) platforms.push(openKvm({ kvm, kvmHosts }))
  return platforms
}

function openKvm({ kvm, kvmHosts = () => [] }: PlatformSettings): OpenPlatform {
  // A monitor socket of QEMU serves one client at a time.
  const monitors = new VmMonitors()
  const ground = new AsyncDisposableStack()
  ground.use(monitors)
  const own: FarKvmHost[] = []
  if (kvm !== undefined) {
    const host = new KvmHost(kvm)
    const target = ground.use(new KvmTargetConnector({ host, monitors }))
    own.push({ host: new LocalVmHost({ host }), openTarget: () => target })
  }
  const hosts = () => [...own, ...kvmHosts()]
  const source = new KvmSourceConnector({ hosts: () => hosts().map(({ host }) => host), monitors })
  const target = new KvmTargets(() => hosts().map(({ host, openTarget }) => ({ host, target: openTarget(monitors) })))
  return { kind: 'kvm', source, target, ground }
}
