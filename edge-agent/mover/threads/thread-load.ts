/** Whose copies one thread has. */
export class ThreadLoad {
  readonly #copiesByTenant = new Map<string, number>()
  #copyCount = 0

  get copyCount(): number {
    return this.#copyCount
  }

  get tenantCount(): number {
    return this.#copiesByTenant.size
  }

  add(tenantId: string): void {
    this.#copiesByTenant.set(tenantId, this.copiesOf(tenantId) + 1)
    this.#copyCount += 1
  }

  /** One that was added. */
  remove(tenantId: string): void {
    const left = this.copiesOf(tenantId) - 1
    if (left > 0) this.#copiesByTenant.set(tenantId, left)
    else this.#copiesByTenant.delete(tenantId)
    this.#copyCount -= 1
  }

  copiesOf(tenantId: string): number {
    return this.#copiesByTenant.get(tenantId) ?? 0
  }

  /**
   * What part of the thread one more copy of that tenant would get: tenants share it equally, and so do the copies of each.
   * How many copies the others have does not matter.
   */
  shareOf(tenantId: string): number {
    const copies = this.copiesOf(tenantId)
    const tenants = this.tenantCount + (copies === 0 ? 1 : 0)
    return 1 / (tenants * (copies + 1))
  }
}

/** Of places with a load, at least one, where a new copy of the tenant gets most; of equal ones where fewest copies are. */
export function bestPlace<T extends { readonly load: ThreadLoad }>(places: readonly T[], tenantId: string): T {
  return places.reduce((best, other) => {
    const gain = other.load.shareOf(tenantId) - best.load.shareOf(tenantId)
    if (gain !== 0) return gain > 0 ? other : best
    return other.load.copyCount < best.load.copyCount ? other : best
  })
}
