import type { roles } from '@sendense/shared/contracts/api/session-api.ts'

export type Role = (typeof roles)[number]

export const permissions = [
  'site.read',
  'agent.read',
  'agent.enrol',
  'inventory.refresh',
  'vm.read',
  'repository.read',
  'restore-point.read',
  'job.read',
  'backup.run',
  'restore.run',
  'verify.run',
  'job.cancel',
  'alert.read',
  'alert.acknowledge',
  'live.read',
] as const
export type Permission = (typeof permissions)[number]

const reading = [
  'site.read',
  'agent.read',
  'vm.read',
  'repository.read',
  'restore-point.read',
  'job.read',
  'alert.read',
  'live.read',
] as const satisfies readonly Permission[]
const operating = [
  ...reading,
  'inventory.refresh',
  'backup.run',
  'verify.run',
  'job.cancel',
  'alert.acknowledge',
] as const

/** What each role may do. */
export const permissionsOf: { readonly [R in Role]: ReadonlySet<Permission> } = {
  'owner': new Set(permissions),
  'admin': new Set(permissions),
  'operator': new Set([...operating, 'restore.run']),
  'restore-operator': new Set([...reading, 'restore.run', 'verify.run', 'job.cancel']),
  'billing-auditor': new Set(['site.read', 'agent.read', 'vm.read', 'live.read']),
  'read-only': new Set(reading),
}
