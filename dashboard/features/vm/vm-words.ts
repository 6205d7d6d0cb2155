import type { PowerState } from '@sendense/shared/contracts/inventory.ts'
import type { PlatformKind } from '@sendense/shared/domain/platform.ts'
import type { BadgeTone } from '../../ui/badge.tsx'

export const powerWord: { readonly [S in PowerState]: string } = {
  running: 'Running',
  stopped: 'Stopped',
  paused: 'Paused',
  unknown: 'Unknown',
}

export const powerTone: { readonly [S in PowerState]: BadgeTone } = {
  running: 'success',
  stopped: 'neutral',
  paused: 'warning',
  unknown: 'warning',
}

export const platformWord: { readonly [K in PlatformKind]: string } = {
  kvm: 'KVM',
  cloudstack: 'CloudStack',
  vmware: 'VMware vSphere',
  hyperv: 'Hyper-V',
  ec2: 'AWS EC2',
  azure: 'Azure',
  physical: 'Physical machine',
}
