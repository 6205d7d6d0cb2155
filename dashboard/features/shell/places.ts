import { Building2, Database, LayoutGrid, ListChecks, Server, type LucideIcon } from 'lucide-react'

export interface Place {
  readonly href: string
  readonly label: string
  readonly icon: LucideIcon
}

/** The portal's pages, in the order in which they are offered. */
export const places: readonly Place[] = [
  { href: '/', label: 'Overview', icon: LayoutGrid },
  { href: '/vms', label: 'VMs', icon: Server },
  { href: '/jobs', label: 'Jobs', icon: ListChecks },
  { href: '/repositories', label: 'Repositories', icon: Database },
  { href: '/sites', label: 'Sites', icon: Building2 },
]

/** True where `path` is the place or a page below it. */
export function isWithin(path: string, href: string): boolean {
  return href === '/' ? path === '/' : path === href || path.startsWith(`${href}/`)
}
