import { isIPv6 } from 'node:net'

export interface GateLimits {
  /** Connections that have not logged in yet; a further one takes the place of the oldest. */
  readonly pendingMax: number
  /** The same, of one address; a further one is turned away. */
  readonly pendingPerAddressMax: number
  /** Connections a minute of one address, with as many at once. */
  readonly perMinute: number
}

export const usualGateLimits: GateLimits = { pendingMax: 64, pendingPerAddressMax: 16, perMinute: 60 }

const ADDRESSES_MAX = 10_000
const MINUTE_MS = 60_000

interface Bucket {
  tokens: number
  atMs: number
  pending: number
  /** Turned away since the last one that was told. */
  turnedAway: number
  toldMs: number
}

export type Admission =
  | { readonly isAdmitted: true; readonly evicted: number | undefined }
  /** `told`: how many of this address were turned away, once a minute; undefined otherwise. */
  | { readonly isAdmitted: false; readonly told: number | undefined }

/**
 * Who may try to log in: strangers cannot keep more than a bounded number of connections, nor come more often than so
 * often. IPv6 addresses count by their /64, as that is what one host has.
 */
export class LoginGate {
  readonly #limits: GateLimits
  readonly #buckets = new Map<string, Bucket>()
  /** Connections that have not logged in, oldest first. */
  readonly #pending = new Map<number, Bucket>()

  constructor(limits: GateLimits) {
    this.#limits = limits
  }

  admit(sessionId: number, address: string, nowMs: number): Admission {
    const bucket = this.#bucketOf(networkOf(address), nowMs)
    const { pendingMax, pendingPerAddressMax, perMinute } = this.#limits
    const passedMs = Math.max(0, nowMs - bucket.atMs)
    bucket.tokens = Math.min(perMinute, bucket.tokens + (passedMs * perMinute) / MINUTE_MS)
    bucket.atMs = nowMs
    if (bucket.tokens < 1 || bucket.pending >= pendingPerAddressMax) {
      bucket.turnedAway += 1
      if (nowMs - bucket.toldMs < MINUTE_MS) return { isAdmitted: false, told: undefined }
      const told = bucket.turnedAway
      bucket.turnedAway = 0
      bucket.toldMs = nowMs
      return { isAdmitted: false, told }
    }
    bucket.tokens -= 1
    const [oldest] = this.#pending.keys()
    const evicted = this.#pending.size >= pendingMax ? oldest : undefined
    if (evicted !== undefined) this.settle(evicted)
    bucket.pending += 1
    this.#pending.set(sessionId, bucket)
    return { isAdmitted: true, evicted }
  }

  /** It has logged in, or ended. */
  settle(sessionId: number): void {
    const bucket = this.#pending.get(sessionId)
    if (bucket === undefined) return
    this.#pending.delete(sessionId)
    bucket.pending -= 1
  }

  #bucketOf(network: string, nowMs: number): Bucket {
    const found = this.#buckets.get(network)
    if (found !== undefined) {
      // Most recently seen last.
      this.#buckets.delete(network)
      this.#buckets.set(network, found)
      return found
    }
    const [stalest] = this.#buckets.keys()
    if (this.#buckets.size >= ADDRESSES_MAX && stalest !== undefined) this.#buckets.delete(stalest)
    const made = { tokens: this.#limits.perMinute, atMs: nowMs, pending: 0, turnedAway: 0, toldMs: -MINUTE_MS }
    this.#buckets.set(network, made)
    return made
  }
}

/** IPv4 as it is, also where it is mapped into IPv6; of IPv6 the first 64 bits. */
function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  if (mapped !== undefined) return mapped
  if (!isIPv6(address)) return address
  const [head = '', tail] = (address.split('%')[0] ?? address).split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length
  const groups = [...before, ...Array.from({ length: Math.max(0, zeros) }, () => '0'), ...after]
  return groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')
}
