import type { ErrorCode } from '@sendense/shared/errors/error-codes.ts'
import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { ObjectSource, ObjectStore } from './object-store.ts'

export interface GuaranteeContext {
  readonly store: ObjectStore
  /** Ends with a slash; keys below it are the guarantee's alone. */
  readonly prefix: string
  readonly signal: AbortSignal
  /** Seeded: the same bytes in each run. */
  readonly randomBytes: (lengthBytes: number) => Uint8Array
  /** Size of an object that the store takes apart (multipart); absent: it takes all in one piece. */
  readonly largeBytes: number
  /** How long the shortest retention is that is waited for. */
  readonly retainForMs: number
  /** The store's time, for retentions. */
  readonly clock: Clock
}

/**
 * One promise of object-store.ts, which holds for any store, or only for those with an ability. `run` rejects with what
 * was broken. All of them together are the conformance suite, and what a customer's own storage is checked with.
 */
export interface Guarantee {
  readonly promise: string
  readonly needs?: 'immutability' | 'tiers'
  readonly run: (context: GuaranteeContext) => Promise<void>
}

/** A promise that was not kept. */
export class BrokenGuarantee extends Error {
  override readonly name = 'BrokenGuarantee'
}

export function guarantee(holds: boolean, otherwise: string): asserts holds {
  if (!holds) throw new BrokenGuarantee(otherwise)
}

/** Rejects unless the call rejects with this code. */
export async function guaranteeRefused(call: Promise<unknown>, code: ErrorCode, what: string): Promise<void> {
  let answer: unknown
  try {
    answer = await call
  } catch (error) {
    if (isPlatformError(error, code)) return
    throw new BrokenGuarantee(`${what}: expected ${code}, got ${String(error)}`, { cause: error })
  }
  throw new BrokenGuarantee(`${what}: expected ${code}, but it was done${answer === undefined ? '' : ' and answered'}`)
}

export function guaranteeSame(found: Uint8Array, wanted: Uint8Array, what: string): void {
  if (Buffer.compare(found, wanted) === 0) return
  const at = wanted.findIndex((byte, index) => byte !== found[index])
  const where = found.length === wanted.length ? `the first other byte is at ${at}` : `${found.length} bytes came back`
  throw new BrokenGuarantee(`${what}: ${wanted.length} bytes were put, ${where}`)
}

/** Keys under a prefix, over all pages, in the order they came. */
export async function listKeys(
  store: ObjectStore,
  prefix: string,
  options: { signal: AbortSignal; after?: string },
): Promise<string[]> {
  const keys: string[] = []
  for await (const page of store.list(prefix, options)) {
    guarantee(page.length > 0, 'an empty page was listed')
    keys.push(...page.map((facts) => facts.key))
  }
  return keys
}

/** Rejects unless the call rejects with this very reason. */
export async function guaranteeReason(call: Promise<unknown>, reason: Error): Promise<void> {
  let error: unknown
  try {
    await call
  } catch (caught) {
    error = caught
  }
  guarantee(error === reason, `expected the reason of the signal, got ${String(error)}`)
}

/** A body that is read piece by piece; `beforeLast` runs when its last byte is asked for. */
export function sourceOf(body: Uint8Array, beforeLast?: () => void): ObjectSource {
  return {
    sizeBytes: body.length,
    read: async (offsetBytes, into) => {
      if (offsetBytes + into.length >= body.length) beforeLast?.()
      into.set(body.subarray(offsetBytes, offsetBytes + into.length))
    },
  }
}
