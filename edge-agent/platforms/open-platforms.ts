import type { PlatformKind } from '@sendense/shared/domain/platform.ts'
import { KvmHost } from './kvm/kvm-host.ts'
import { KvmSourceConnector } from './kvm/kvm-source-connector.ts'
import { KvmTargetConnector } from './kvm/kvm-target-connector.ts'
import { VmMonitors } from './kvm/vm-monitors.ts'
import type { SourceConnector } from './source-connector.ts'
import type { TargetConnector } from './target-connector.ts'

export interface PlatformSettings {
  /** A plain-QEMU host; absent: none. */
  readonly kvm: { readonly rootDir: string; readonly runtimeDir: string } | undefined
}

export interface OpenPlatform {
  readonly kind: PlatformKind
  readonly source: SourceConnector
  readonly target?: TargetConnector
  /** What both sides stand on; to be disposed after them. */
  readonly ground?: AsyncDisposable
}

/** Connectors of every platform that is set up: the one place where a new platform joins. */
export function openPlatforms({ kvm }: PlatformSettings): OpenPlatform[] {
  const platforms: OpenPlatform[] = []
  if (kvm !== undefined) {
    const host = new KvmHost(kvm)
    // A monitor socket of QEMU serves one client at a time.
    const monitors = new VmMonitors()
    const source = new KvmSourceConnector({ host, monitors })
    platforms.push({ kind: 'kvm', source, target: new KvmTargetConnector({ host, monitors }), ground: monitors })
  }
  return platforms
}
