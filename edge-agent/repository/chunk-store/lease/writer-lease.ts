import { createHmac } from 'node:crypto'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { CallOptions } from '../../../block/block-source.ts'
import type { ObjectStore } from '../../../object-store/object-store.ts'
import { mayBeAlive, ownProcessIdentity } from '../../process-identity.ts'
import { encodeLease, type Lease, parseLease } from '../format/lease.ts'
import type { SealContext } from '../format/object-context.ts'
import { fenceKey, leaseKey, leasePrefix, parseLeaseKey, prefixes } from '../format/object-keys.ts'

export const HEARTBEAT_EVERY_MS = 30_000
/** A writer whose newest heartbeat is older, by the store's clock, is taken for dead. */
export const LEASE_EXPIRY_MS = 10 * 60_000
/** Clocks run unlike, and what was sent may be under way: a writer stops so much before others take it for dead. */
const MARGIN_MS = 60_000
/** Digits of a writer's id that are those of its VM. */
const VM_DIGITS = 8

export interface WriterLeaseOptions extends CallOptions {
  readonly store: ObjectStore
  readonly context: SealContext
  readonly agentId: string
  readonly vmId: string
  readonly restorePointId: string
  readonly generationOf: (storeTime: Date) => number
  readonly clock: Clock
  /** Milliseconds of a clock that never goes back. */
  readonly nowMs: () => number
  readonly newId: () => string
  readonly logger?: Pick<Logger, 'warn'> | undefined
}

/** Writers of this process that hold a lease: what another lease says of this process is not true. */
const ownWriters = new Set<string>()

/**
 * The right to write a restore point of one VM, and to use what is in the repository while that lasts: whoever collects
 * deletes nothing that a living writer may refer to. Kept alive by heartbeats, objects `leases/<writerId>/<n>`, whose age
 * is told by the store's clock. Disposing it gives it back.
 */
export class WriterLease implements AsyncDisposable {
  readonly writerId: string
  readonly #options: WriterLeaseOptions
  readonly #lost = new AbortController()
  readonly #ended = new AbortController()
  readonly #beganAt: string
  #counter = -1
  #renewedAtMs = -Infinity
  /** When the store took in the newest heartbeat. */
  #beatAt: Date | undefined
  /** The store's clock less ours that never goes back. */
  #storeOffsetMs = 0
  #beating: Promise<void> = Promise.resolve()

  private constructor(options: WriterLeaseOptions) {
    this.#options = options
    this.#beganAt = options.clock.now().toISOString()
    this.writerId = `${vmDigits(options)}${options.newId().slice(VM_DIGITS)}`
  }

  /** Rejects with `repository.locked` while another writer of the same VM lives, `storage.*`. */
  static async take(options: WriterLeaseOptions): Promise<WriterLease> {
    const lease = new WriterLease(options)
    ownWriters.add(lease.writerId)
    try {
      await lease.#renew(options)
      await lease.#expectAlone(options)
    } catch (error) {
      await lease[Symbol.asyncDispose]()
      throw error
    }
    lease.#beating = lease.#beat()
    return lease
  }

  /** Aborts with `repository.lease_lost` when nothing may be written any more. */
  get lost(): AbortSignal {
    return this.#lost.signal
  }

  /** What the store's clock says now. */
  storeNow(): Date {
    return new Date(this.#options.nowMs() + this.#storeOffsetMs)
  }

  /**
   * Proves that the lease is held, just before a restore point is sealed and just after. Rejects with
   * `repository.lease_lost` where it expired or somebody fenced this writer.
   */
  async confirm({ signal }: CallOptions): Promise<void> {
    this.#lost.signal.throwIfAborted()
    if (this.#isExpired()) throw this.#lose('it could not be renewed in time')
    await this.#renew({ signal })
    await this.expectNotFenced({ signal })
  }

  /** Rejects with `repository.lease_lost`. */
  async expectNotFenced({ signal }: CallOptions): Promise<void> {
    const fence = await this.#options.store.find(fenceKey(this.writerId), { signal })
    if (fence !== undefined) throw this.#lose('another one was let in its place')
  }

  /** A signal that aborts before anybody takes this writer for dead: for the put that makes a restore point exist. */
  deadline(): AbortSignal {
    const leftMs = this.#renewedAtMs + LEASE_EXPIRY_MS - MARGIN_MS - this.#options.nowMs()
    return AbortSignal.any([this.#lost.signal, AbortSignal.timeout(Math.max(0, Math.floor(leftMs)))])
  }

  /** Gives the lease back. Where the store does not answer it expires by itself. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort(new Error('the lease was given back'))
    await this.#beating
    ownWriters.delete(this.writerId)
    const { store, logger } = this.#options
    const signal = AbortSignal.timeout(HEARTBEAT_EVERY_MS)
    try {
      for (const counter of [this.#counter - 1, this.#counter]) {
        if (counter >= 0) await store.delete(leaseKey({ writerId: this.writerId, counter }), { signal })
      }
    } catch (error) {
      logger?.warn({ err: error, writerId: this.writerId }, 'a lease could not be given back: it expires by itself')
    }
  }

  async #beat(): Promise<void> {
    const { clock, logger } = this.#options
    const { signal } = this.#ended
    while (!signal.aborted && !this.#lost.signal.aborted) {
      await clock.sleep(HEARTBEAT_EVERY_MS, { signal }).catch(() => undefined)
      if (signal.aborted) return
      try {
        await this.#renew({ signal })
        await this.expectNotFenced({ signal })
      } catch (error) {
        if (signal.aborted || this.#lost.signal.aborted) return
        logger?.warn({ err: error, writerId: this.writerId }, 'a lease could not be renewed')
        if (this.#isExpired()) this.#lose('it could not be renewed in time')
      }
    }
  }

  #isExpired(): boolean {
    return this.#options.nowMs() - this.#renewedAtMs > LEASE_EXPIRY_MS - MARGIN_MS
  }

  async #renew({ signal }: CallOptions): Promise<void> {
    const { store, context, agentId, vmId, restorePointId, generationOf, nowMs } = this.#options
    const counter = this.#counter + 1
    const { writerId } = this
    const beganMs = nowMs()
    const lease: Lease = {
      version: 1,
      role: 'writer',
      writerId,
      counter,
      agentId,
      vmId,
      restorePointId,
      generation: generationOf(this.storeNow()),
      beganAt: this.#beganAt,
      holder: await ownProcessIdentity(),
    }
    const key = leaseKey(lease)
    await store.put(key, encodeLease(lease, context), { signal })
    const facts = await store.find(key, { signal })
    if (facts === undefined) throw this.#lose('its heartbeat was taken away')
    // Our own clock stands still while the machine sleeps: the store's does not.
    const sinceMs = facts.modifiedAt.getTime() - (this.#beatAt ?? facts.modifiedAt).getTime()
    this.#beatAt = facts.modifiedAt
    if (sinceMs > LEASE_EXPIRY_MS - MARGIN_MS) throw this.#lose('it could not be renewed in time')
    this.#renewedAtMs = beganMs
    this.#storeOffsetMs = facts.modifiedAt.getTime() - nowMs()
    this.#counter = counter
    if (counter > 0) await store.delete(leaseKey({ writerId, counter: counter - 1 }), { signal })
  }

  /**
   * Our heartbeat is there by now, and so whoever begins at the same time sees it, or we see his: then both give up rather
   * than both go on.
   */
  async #expectAlone({ signal }: CallOptions): Promise<void> {
    for (const [writerId, { counter, modifiedAt, isFenced }] of await this.#others({ signal })) {
      const isOld = this.storeNow().getTime() - modifiedAt.getTime() > LEASE_EXPIRY_MS
      if (isFenced || isOld) continue
      const lease = await this.#read(writerId, counter, { signal })
      if (lease === undefined || lease.vmId !== this.#options.vmId) continue
      if (await isDead(lease)) {
        await this.#clear(writerId, { signal })
        continue
      }
      const { vmId } = this.#options
      const text = `VM ${vmId} is being written to this repository: agent ${lease.agentId} writes restore point ${lease.restorePointId}`
      throw new PlatformError('repository.locked', text, { details: { vmId } })
    }
  }

  /** Other writers of what may be the same VM, and their newest heartbeats. */
  async #others({ signal }: CallOptions) {
    const others = new Map<string, { counter: number; modifiedAt: Date; isFenced: boolean }>()
    const prefix = `${prefixes.leases}${vmDigits(this.#options)}`
    for await (const page of this.#options.store.list(prefix, { signal })) {
      for (const { key, modifiedAt } of page) {
        const place = parseLeaseKey(key)
        if (place === undefined || place.writerId === this.writerId) continue
        const known = others.get(place.writerId) ?? { counter: -1, modifiedAt, isFenced: false }
        if ('fenced' in place) others.set(place.writerId, { ...known, isFenced: true })
        else if (place.counter > known.counter) others.set(place.writerId, { ...known, ...place, modifiedAt })
      }
    }
    return others
  }

  /** Undefined where it is gone by now: the other one renewed it, which he did for a reason, or gave it back. */
  async #read(writerId: string, counter: number, { signal }: CallOptions): Promise<Lease | undefined> {
    const { store, context } = this.#options
    for (const next of [counter, counter + 1]) {
      const place = { writerId, counter: next }
      if ((await store.find(leaseKey(place), { signal })) === undefined) continue
      return parseLease(await store.get(leaseKey(place), { signal }), place, context)
    }
    return undefined
  }

  async #clear(writerId: string, { signal }: CallOptions): Promise<void> {
    const { store } = this.#options
    for await (const page of store.list(leasePrefix(writerId), { signal })) {
      for (const { key } of page) await store.delete(key, { signal })
    }
  }

  #lose(why: string): PlatformError {
    const { vmId } = this.#options
    const text = `the right to write VM ${vmId} to this repository was lost: ${why}`
    const error = new PlatformError('repository.lease_lost', text, { details: { vmId } })
    this.#lost.abort(error)
    return error
  }
}

/** Of a process of this machine one can know; of others not. */
async function isDead({ holder, writerId }: Lease): Promise<boolean> {
  if (holder === undefined) return false
  const own = await ownProcessIdentity()
  const isOwn = holder.pid === own.pid && holder.startTicks === own.startTicks && holder.bootId === own.bootId
  return isOwn ? !ownWriters.has(writerId) : !(await mayBeAlive(holder))
}

/** So that one listing finds all who write the same VM, and few others. They tell nothing of the VM without the key. */
function vmDigits({ context, vmId }: WriterLeaseOptions): string {
  return createHmac('sha256', context.keys.macKey).update(`lease of VM ${vmId}`).digest('hex').slice(0, VM_DIGITS)
}
