/** The kinds of place a VM can live on. Each has its folder under `edge-agent/platforms/`. */
export const platformKinds = ['kvm', 'cloudstack', 'vmware', 'hyperv', 'ec2', 'azure', 'physical'] as const
export type PlatformKind = (typeof platformKinds)[number]
