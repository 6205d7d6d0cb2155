import { createHmac } from 'node:crypto'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { CallOptions } from '../../../block/block-source.ts'
import type { ObjectStore } from '../../../object-store/object-store.ts'
import { mayBeAlive } from '../../process-identity.ts'
import { encodeLease, type Lease, parseLease } from '../format/lease.ts'
import type { SealContext } from '../format/object-context.ts'
import { fenceKey, leaseKey, parseLeaseKey, prefixes } from '../format/object-keys.ts'
import { type ProtocolTimes, protocolTimes } from '../protocol-times.ts'
import { putFence } from './put-fence.ts'
import { type Machine, thisMachine } from './this-machine.ts'

/** Clocks run unlike, and what was sent may be under way: a writer stops so much before his lease expires. */
const MARGIN_SHARE = 0.1
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
  /** Default: this one. */
  readonly machine?: Machine | undefined
  readonly times?: ProtocolTimes | undefined
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
  readonly #machine: Machine
  readonly #times: ProtocolTimes
  readonly #lost = new AbortController()
  readonly #ended = new AbortController()
  readonly #beganAt: string
  #nextCounter = 0
  /** Heartbeats that may be there, but for the first one. */
  #outstanding: number[] = []
  #renewedAtMs = -Infinity
  /** The newest heartbeat, by the store's clock. */
  #beatAtMs: number | undefined
  #isLeft = false
  /** The store's clock less ours that never goes back. */
  #storeOffsetMs = 0
  #beating: Promise<void> = Promise.resolve()
  #renewing: Promise<unknown> = Promise.resolve()

  private constructor(options: WriterLeaseOptions, machine: Machine) {
    this.#options = options
    this.#machine = machine
    this.#times = options.times ?? protocolTimes
    this.#beganAt = options.clock.now().toISOString()
    this.writerId = `${vmDigits(options)}${options.newId().slice(VM_DIGITS)}`
  }

  /** Rejects with `repository.locked` while another writer of the same VM lives, `storage.*`. */
  static async take(options: WriterLeaseOptions): Promise<WriterLease> {
    const lease = new WriterLease(options, options.machine ?? (await thisMachine(options.clock)))
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
   * @returns when that was, by the store's clock
   */
  async confirm({ signal }: CallOptions): Promise<Date> {
    this.#lost.signal.throwIfAborted()
    if (this.#isExpired()) throw this.#lose('it could not be renewed in time')
    const confirmedAt = await this.#renew({ signal })
    await this.expectNotFenced({ signal })
    return confirmedAt
  }

  /**
   * Gives up without giving back: whether a manifest that was sent arrives is not known, and so this writer must be shut
   * out before anything that it may refer to is deleted.
   */
  leave(): void {
    this.#isLeft = true
    if (!this.#lost.signal.aborted) this.#lose('whether the restore point was sealed is not known')
  }

  /** Rejects with `repository.lease_lost`. */
  async expectNotFenced({ signal }: CallOptions): Promise<void> {
    const fence = await this.#options.store.find(fenceKey(this.writerId), { signal })
    if (fence !== undefined) throw this.#lose('another one was let in its place')
  }

  /** A signal that aborts before anybody takes this writer for dead: for the put that makes a restore point exist. */
  deadline(): AbortSignal {
    const leftMs = this.#renewedAtMs + this.#holdsForMs - this.#options.nowMs()
    return AbortSignal.any([this.#lost.signal, AbortSignal.timeout(Math.max(0, Math.floor(leftMs)))])
  }

  /** Gives the lease back. Where the store does not answer it expires by itself. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort(new Error('the lease was given back'))
    await this.#beating
    ownWriters.delete(this.writerId)
    if (this.#isLeft) return
    const { store, logger } = this.#options
    const signal = AbortSignal.timeout(this.#times.heartbeatEveryMs)
    try {
      // The first one goes last: it says since when there was a session.
      for (const counter of [...this.#outstanding, 0]) {
        await store.delete(leaseKey({ writerId: this.writerId, counter }), { signal })
      }
    } catch (error) {
      logger?.warn({ err: error, writerId: this.writerId }, 'a lease could not be given back: it expires by itself')
    }
  }

  async #beat(): Promise<void> {
    const { clock, logger } = this.#options
    const { signal } = this.#ended
    while (!signal.aborted && !this.#lost.signal.aborted) {
      await clock.sleep(this.#times.heartbeatEveryMs, { signal }).catch(() => undefined)
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

  get #holdsForMs(): number {
    return this.#times.leaseExpiryMs * (1 - MARGIN_SHARE)
  }

  #isExpired(): boolean {
    return this.#options.nowMs() - this.#renewedAtMs > this.#holdsForMs
  }

  /** One at a time: each takes away the heartbeats before its own. */
  async #renew(options: CallOptions): Promise<Date> {
    const renewed = this.#renewing.then(async () => await this.#beatOnce(options))
    this.#renewing = renewed.catch(() => undefined)
    return await renewed
  }

  async #beatOnce({ signal }: CallOptions): Promise<Date> {
    signal.throwIfAborted()
    const { store, context, agentId, vmId, restorePointId, generationOf, nowMs } = this.#options
    const { writerId } = this
    // Never a key again of which it is not known whether it is taken.
    const counter = this.#nextCounter
    this.#nextCounter += 1
    if (counter > 0) this.#outstanding.push(counter)
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
      holder: this.#machine.holder,
    }
    const key = leaseKey(lease)
    await store.put(key, encodeLease(lease, context), { signal })
    const facts = await store.find(key, { signal })
    if (facts === undefined) throw this.#lose('its heartbeat was taken away')
    this.#expectSteady(facts.modifiedAt.getTime())
    this.#renewedAtMs = beganMs
    this.#storeOffsetMs = facts.modifiedAt.getTime() - nowMs()
    for (const old of this.#outstanding.filter((one) => one !== counter)) {
      await store.delete(leaseKey({ writerId, counter: old }), { signal })
      this.#outstanding = this.#outstanding.filter((one) => one !== old)
    }
    return facts.modifiedAt
  }

  /** Our clock may stand still while this process does: the store's does not, and others go by it. */
  #expectSteady(beatAtMs: number): void {
    const passedMs = beatAtMs - (this.#beatAtMs ?? beatAtMs)
    const { clockSlackMs } = this.#times
    if (passedMs > this.#holdsForMs) throw this.#lose(`it was not renewed for ${Math.round(passedMs / 1000)} s`)
    if (passedMs < -clockSlackMs) throw this.#lose(`the clock of the store went back ${Math.round(-passedMs / 1000)} s`)
    this.#beatAtMs = beatAtMs
  }

  /**
   * Our heartbeat is there by now, and so whoever begins at the same time sees it, or we see his: then both give up rather
   * than both go on.
   */
  async #expectAlone({ signal }: CallOptions): Promise<void> {
    for (const [writerId, { counter, modifiedAt, isFenced }] of await this.#others({ signal })) {
      const isOld = this.storeNow().getTime() - modifiedAt.getTime() > this.#times.leaseExpiryMs
      if (isFenced || isOld) continue
      const lease = await this.#read(writerId, counter, { signal })
      if (lease === undefined || lease.vmId !== this.#options.vmId) continue
      if (await isDead(lease, this.#machine)) {
        // What he sent last may still arrive: he is shut out, and a collection clears what he left.
        const fence = { writerId, fencedBy: this.writerId, clocks: this.#machine.readClocks() }
        await putFence({ store: this.#options.store, context: this.#options.context, fence, point: lease, signal })
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

  #lose(why: string): PlatformError {
    const { vmId } = this.#options
    const text = `the right to write VM ${vmId} to this repository was lost: ${why}`
    const error = new PlatformError('repository.lease_lost', text, { details: { vmId } })
    this.#lost.abort(error)
    return error
  }
}

/** Of a process of this machine one can know; of others not. */
async function isDead({ holder, writerId }: Lease, { holder: own }: Machine): Promise<boolean> {
  if (holder === undefined) return false
  const isOwn = holder.pid === own.pid && holder.startTicks === own.startTicks && holder.bootId === own.bootId
  return isOwn ? !ownWriters.has(writerId) : !(await mayBeAlive(holder))
}

/** So that one listing finds all who write the same VM, and few others. They tell nothing of the VM without the key. */
function vmDigits({ context, vmId }: WriterLeaseOptions): string {
  return createHmac('sha256', context.keys.macKey).update(`lease of VM ${vmId}`).digest('hex').slice(0, VM_DIGITS)
}
