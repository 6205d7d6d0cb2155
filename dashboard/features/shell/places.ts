import { Bell, Building2, Database, LayoutGrid, ListChecks, Server, type LucideIcon } from 'lucide-react'

export interface Place {
  readonly href: string
  readonly label: string
  readonly icon: LucideIcon
  /** Without it the place is not offered: the API would refuse all of it. */
  readonly permission?: string
}

/** The portal's pages, in the order in which they are offered. */
export const places: readonly Place[] = [
  { href: '/', label: 'Overview', icon: LayoutGrid },
  { href: '/vms', label: 'VMs', icon: Server },
  { href: '/jobs', label: 'Jobs', icon: ListChecks },
  { href: '/alerts', label: 'Alerts', icon: Bell, permission: 'alert.read' },
  { href: '/repositories', label: 'Repositories', icon: Database },
  { href: '/sites', label: 'Sites', icon: Building2 },
]

/** The pages a log-in with these permissions is offered. */
export function placesFor(permissions: readonly string[]): Place[] {
  return places.filter(({ permission }) => permission === undefined || permissions.includes(permission))
}

/** True where `path` is the place or a page below it. */
export function isWithin(path: string, href: string): boolean {
  return href === '/' ? path === '/' : path === href || path.startsWith(`${href}/`)
}
