import type { PlatformKind } from '@sendense/shared/domain/platform.ts'
import { KvmHost } from './kvm/kvm-host.ts'
import { KvmSourceConnector } from './kvm/kvm-source-connector.ts'
import { KvmTargetConnector } from './kvm/kvm-target-connector.ts'
import { LocalVmHost } from './kvm/local-vm-host.ts'
import type { VmHost } from './kvm/vm-host.ts'
import { VmMonitors } from './kvm/vm-monitors.ts'
import type { SourceConnector } from './source-connector.ts'
import type { TargetConnector } from './target-connector.ts'

export interface PlatformSettings {
  /** Plain QEMU on the agent's own machine; absent: none. */
  readonly kvm: { readonly rootDir: string; readonly runtimeDir: string } | undefined
  /** Plain-QEMU hosts elsewhere, as they are now. Absent: the agent knows of none, ever. */
  readonly kvmHosts?: (() => readonly VmHost[]) | undefined
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
  const host = kvm === undefined ? undefined : new KvmHost(kvm)
  const own = host === undefined ? [] : [new LocalVmHost({ host })]
  const source = new KvmSourceConnector({ hosts: () => [...own, ...kvmHosts()], monitors })
  const target = host === undefined ? {} : { target: new KvmTargetConnector({ host, monitors }) }
  return { kind: 'kvm', source, ...target, ground: monitors }
}
