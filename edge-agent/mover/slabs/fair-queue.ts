/** Who something is wanted for. Tenants come before their jobs: a tenant with many jobs gets no more than one with a single job. */
export interface FairShareOwner {
  readonly tenantId: string
  readonly jobId: string
}

interface Tenant<T> {
  /** In the order of their turns. Each job's items are in the order they came. */
  readonly jobs: Map<string, Set<T>>
}

/**
 * Who waits, served in turns: round-robin between tenants, then between the jobs of a tenant, then in order of arrival.
 * Whoever was served, or comes anew, is behind all that wait.
 */
export class FairQueue<T> {
  /** In the order of their turns. */
  readonly #tenants = new Map<string, Tenant<T>>()
  #size = 0

  get size(): number {
    return this.#size
  }

  /** @param item different from all that wait */
  add({ tenantId, jobId }: FairShareOwner, item: T): void {
    let tenant = this.#tenants.get(tenantId)
    if (tenant === undefined) {
      tenant = { jobs: new Map() }
      this.#tenants.set(tenantId, tenant)
    }
    const items = tenant.jobs.get(jobId)
    if (items === undefined) tenant.jobs.set(jobId, new Set([item]))
    else items.add(item)
    this.#size += 1
  }

  /** Does nothing when it does not wait. */
  delete({ tenantId, jobId }: FairShareOwner, item: T): void {
    const tenant = this.#tenants.get(tenantId)
    const items = tenant?.jobs.get(jobId)
    if (tenant === undefined || items === undefined || !items.delete(item)) return
    this.#size -= 1
    if (items.size === 0) tenant.jobs.delete(jobId)
    if (tenant.jobs.size === 0) this.#tenants.delete(tenantId)
  }

  /** The next whose turn it is among those that `mayBeServed`; it is served and waits no more. Others keep their place. */
  take(mayBeServed: (item: T) => boolean): T | undefined {
    for (const [tenantId, tenant] of this.#tenants) {
      for (const [jobId, items] of tenant.jobs) {
        for (const item of items) {
          if (!mayBeServed(item)) continue
          this.delete({ tenantId, jobId }, item)
          toTheBack(tenant.jobs, jobId)
          toTheBack(this.#tenants, tenantId)
          return item
        }
      }
    }
    return undefined
  }

  /** All that wait, in no particular order. */
  *items(): Generator<T, void, undefined> {
    for (const { jobs } of this.#tenants.values()) for (const items of jobs.values()) yield* items
  }
}

/** A map keeps the order of insertion. */
function toTheBack<K, V>(map: Map<K, V>, key: K): void {
  const value = map.get(key)
  if (value === undefined) return
  map.delete(key)
  map.set(key, value)
}
