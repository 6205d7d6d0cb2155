import assert from 'node:assert/strict'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { FairQueue, type FairShareOwner } from './fair-queue.ts'
import { RunBuffer, SLAB_BYTES, type Slab } from './run-buffer.ts'

/** Copies that may have a share of one pool. Each waits for one buffer at a time, so this bounds the queue too. */
const SHARES_MAX = 4096
/** What several tenants that are under way share equally: enough for a fast disk each, and whoever asks for more only waits longer. */
const SLABS_OF_ALL_TENANTS = 64
/** As many as one copy begins with. */
const SLABS_OF_A_TENANT_MIN = 4

/** What one copy may use of a pool. Disposing it gives back all that it still holds. */
export interface SlabShare extends Disposable {
  /** Buffers it holds. */
  readonly heldCount: number
  /** Buffers that its tenant may hold beside others who are under way now; undefined: there are none. */
  readonly partCount: number | undefined
  /**
   * Resolves with memory for one run, when it is this copy's turn. One call at a time.
   * Rejects with the signal's reason.
   */
  acquire(options: CallOptions): Promise<RunBuffer>
  /** Nobody may use the buffer any more, the kernel included. */
  giveBack(buffer: RunBuffer): void
  /** Whether it will ask for nothing for a while: nothing is kept for it then. Asking ends it. */
  setResting(isResting: boolean): void
}

/**
 * The memory that all copies of one thread share: an arena cut into slabs. Untouched slabs cost nothing, and the slab
 * that came back last is handed out first, for it is still in the CPU's cache.
 *
 * Buffers are handed out in turns (FairQueue). Every copy that is under way can have one buffer whatever the others
 * do, as long as there are that many: a second one is only given where enough is left for each that has none, so that
 * copies whose disks hang cannot hold everything.
 *
 * Disks and processor serve what is under way in the order it was asked for, so who has more under way gets more. While
 * several tenants are under way, a second buffer is only given where the tenant has less than its equal part of
 * `SLABS_OF_ALL_TENANTS`: a tenant's fifty copies get hardly more than another's only one.
 */
export class SlabPool {
  readonly capacity: number
  readonly #memory: SharedArrayBuffer
  /** Indexes of slabs that came back, the last one on top. */
  readonly #returned: number[] = []
  #untouchedFrom = 0
  readonly #queue = new FairQueue<Waiting>()
  readonly #shares = new Set<Share>()
  readonly #tenants = new Map<string, Tenant>()
  /** Tenants with a copy that does not rest. */
  #activeTenants = 0
  /** Slabs that active copies without a buffer need for their first one. */
  #reserved = 0

  /** @param memory the arena; what does not make a whole slab at its end is not used */
  constructor(memory: SharedArrayBuffer) {
    this.#memory = memory
    this.capacity = Math.floor(memory.byteLength / SLAB_BYTES)
    assert(this.capacity >= 1, 'an arena holds at least one slab')
  }

  get freeCount(): number {
    return this.capacity - this.#untouchedFrom + this.#returned.length
  }

  get waitingCount(): number {
    return this.#queue.size
  }

  /**
   * Begins a copy's share.
   * Throws `mover.overloaded` when too many copies have one, `config.invalid` when the arena cannot hold one run of it.
   * @param slabsPerRun what it acquires at once
   */
  join(owner: FairShareOwner, { slabsPerRun }: { readonly slabsPerRun: number }): SlabShare {
    if (this.#shares.size >= SHARES_MAX) {
      throw new PlatformError('mover.overloaded', `${SHARES_MAX} copies are under way in one thread`)
    }
    if (slabsPerRun > this.capacity) {
      const message = `a copy needs ${slabsPerRun} MiB at once, but a thread of the mover has ${this.capacity} MiB`
      throw new PlatformError('config.invalid', message)
    }
    const tenant = this.#tenants.get(owner.tenantId) ?? { copies: 0, activeCopies: 0, heldSlabs: 0 }
    this.#tenants.set(owner.tenantId, tenant)
    tenant.copies += 1
    // It rests until now.
    const share: Share = { owner, tenant, slabsPerRun, held: new Set(), isResting: true, isWaiting: false }
    this.#shares.add(share)
    this.#setResting(share, false)
    const partSlabs = (): number | undefined => this.#partSlabs
    return {
      get heldCount() {
        return share.held.size
      },
      get partCount() {
        const slabs = partSlabs()
        return slabs === undefined ? undefined : Math.max(1, Math.floor(slabs / slabsPerRun))
      },
      acquire: (options) => this.#acquire(share, options),
      giveBack: (buffer) => this.#giveBack(share, [buffer]),
      setResting: (isResting) => this.#setResting(share, isResting),
      [Symbol.dispose]: () => this.#leave(share),
    }
  }

  async #acquire(share: Share, { signal }: CallOptions): Promise<RunBuffer> {
    signal.throwIfAborted()
    assert(
      this.#shares.has(share) && !share.isWaiting,
      'a share is asked for one buffer at a time, until it is disposed',
    )
    this.#setResting(share, false)
    if (this.#queue.size === 0 && this.#mayHave(share)) return this.#handOut(share)
    const { promise, resolve, reject } = Promise.withResolvers<RunBuffer>()
    const waiting = { share, resolve }
    const onAbort = (): void => {
      this.#queue.delete(share.owner, waiting)
      reject(signal.reason)
      this.#serve()
    }
    this.#queue.add(share.owner, waiting)
    share.isWaiting = true
    signal.addEventListener('abort', onAbort, { once: true })
    this.#serve()
    try {
      return await promise
    } finally {
      share.isWaiting = false
      signal.removeEventListener('abort', onAbort)
    }
  }

  #giveBack(share: Share, buffers: readonly RunBuffer[]): void {
    this.#change(share, () => {
      for (const buffer of buffers) {
        assert(share.held.delete(buffer), 'a buffer is given back once, by who had it')
        share.tenant.heldSlabs -= buffer.slabs.length
        for (const { index } of buffer.slabs) this.#returned.push(index)
      }
    })
    this.#serve()
  }

  #setResting(share: Share, isResting: boolean): void {
    if (share.isResting === isResting) return
    const { tenant } = share
    this.#change(share, () => {
      share.isResting = isResting
    })
    tenant.activeCopies += isResting ? -1 : 1
    if (isResting && tenant.activeCopies === 0) this.#activeTenants -= 1
    if (!isResting && tenant.activeCopies === 1) this.#activeTenants += 1
    if (isResting) this.#serve()
  }

  #leave(share: Share): void {
    assert(!share.isWaiting, 'nobody waits for a buffer of a share that is disposed')
    if (!this.#shares.has(share)) return
    this.#giveBack(share, [...share.held])
    this.#setResting(share, true)
    this.#shares.delete(share)
    share.tenant.copies -= 1
    if (share.tenant.copies === 0) this.#tenants.delete(share.owner.tenantId)
  }

  /**
   * Hands out what is free. Who has nothing yet is never passed over: where it cannot be served everybody waits. Who
   * wants one more than he has lets those go first that have none.
   */
  #serve(): void {
    while (this.freeCount > 0 && this.#queue.size > 0) {
      let moreMayHave = true
      let firstMayHave = true
      const next = this.#queue.take(({ share }) => {
        const isFirst = share.held.size === 0
        if (!firstMayHave || (!isFirst && !moreMayHave)) return false
        if (!isFirst && this.#hasEnough(share)) return false
        if (this.#mayHave(share)) return true
        if (isFirst) firstMayHave = false
        else moreMayHave = false
        return false
      })
      if (next === undefined) return
      next.resolve(this.#handOut(next.share))
    }
  }

  #mayHave(share: Share): boolean {
    if (share.held.size === 0) return this.freeCount >= share.slabsPerRun
    return !this.#hasEnough(share) && this.freeCount >= share.slabsPerRun + this.#reserved
  }

  /** A tenant's part; undefined: one has everything. */
  get #partSlabs(): number | undefined {
    if (this.#activeTenants <= 1) return undefined
    return Math.max(SLABS_OF_A_TENANT_MIN, Math.floor(SLABS_OF_ALL_TENANTS / this.#activeTenants))
  }

  /** Whether its tenant has its part already, and others want theirs. */
  #hasEnough({ tenant, slabsPerRun }: Share): boolean {
    return tenant.heldSlabs + slabsPerRun > (this.#partSlabs ?? Infinity)
  }

  #handOut(share: Share): RunBuffer {
    assert(share.slabsPerRun <= this.freeCount, 'no more is handed out than there is')
    const buffer = new RunBuffer(Array.from({ length: share.slabsPerRun }, () => this.#takeSlab()))
    this.#change(share, () => share.held.add(buffer))
    share.tenant.heldSlabs += buffer.slabs.length
    return buffer
  }

  #takeSlab(): Slab {
    const index = this.#returned.pop() ?? this.#untouchedFrom++
    return { index, bytes: new Uint8Array(this.#memory, index * SLAB_BYTES, SLAB_BYTES) }
  }

  /** Changes what a share holds or whether it rests, and what is reserved for it. */
  #change(share: Share, change: () => void): void {
    this.#reserved -= reservationOf(share)
    change()
    this.#reserved += reservationOf(share)
  }
}

interface Tenant {
  copies: number
  /** Those that do not rest. */
  activeCopies: number
  heldSlabs: number
}

interface Share {
  readonly owner: FairShareOwner
  readonly tenant: Tenant
  readonly slabsPerRun: number
  readonly held: Set<RunBuffer>
  isResting: boolean
  isWaiting: boolean
}

interface Waiting {
  readonly share: Share
  readonly resolve: (buffer: RunBuffer) => void
}

function reservationOf(share: Share): number {
  return share.held.size === 0 && !share.isResting ? share.slabsPerRun : 0
}
