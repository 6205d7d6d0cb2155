import type { VmView } from '@sendense/shared/contracts/api/protection-api.ts'

export const vmFilters = ['all', 'protected', 'unprotected', 'busy'] as const
export type VmFilter = (typeof vmFilters)[number]

export const vmFilterWord: { readonly [F in VmFilter]: string } = {
  all: 'All',
  protected: 'Protected',
  unprotected: 'Unprotected',
  busy: 'Job running',
}

/** Protected: there is a restore point. */
export function matchesFilter(vm: VmView, filter: VmFilter): boolean {
  switch (filter) {
    case 'all':
      return true
    case 'protected':
      return vm.restorePointCount > 0
    case 'unprotected':
      return vm.restorePointCount === 0
    case 'busy':
      return vm.runningJobId !== null
    default:
      return filter satisfies never
  }
}

/** True where every word of `query` occurs in the VM's name, host, site or customer. */
export function matchesSearch(vm: VmView, query: string): boolean {
  const text = `${vm.name} ${vm.hostName ?? ''} ${vm.siteName} ${vm.customerName}`.toLowerCase()
  return query
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word))
}

export const vmColumns = ['name', 'site', 'power', 'lastRestorePoint', 'size'] as const
export type VmColumn = (typeof vmColumns)[number]

/** What a column is sorted by. */
export function vmSortKey(vm: VmView, column: VmColumn): string | number | null {
  switch (column) {
    case 'name':
      return vm.name
    case 'site':
      return `${vm.customerName} ${vm.siteName}`
    case 'power':
      return vm.powerState
    case 'lastRestorePoint':
      // By age: ascending is newest first.
      return vm.lastRestorePointAt === null ? null : -Date.parse(vm.lastRestorePointAt)
    case 'size':
      return vmSizeBytes(vm)
    default:
      return column satisfies never
  }
}

export function vmSizeBytes(vm: Pick<VmView, 'disks'>): number {
  return vm.disks.reduce((sum, disk) => sum + disk.sizeBytes, 0)
}
