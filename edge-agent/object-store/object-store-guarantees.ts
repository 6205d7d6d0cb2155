import { basicGuarantees } from './basic-guarantees.ts'
import type { Guarantee } from './guarantee.ts'
import { immutabilityGuarantees } from './immutability-guarantees.ts'
import type { ObjectStore } from './object-store.ts'
import { tierGuarantees } from './tier-guarantees.ts'

/**
 * The contract of ObjectStore, promise by promise. All of them together are the conformance suite of drivers and
 * layers, and what a customer's own storage is checked with.
 */
export const objectStoreGuarantees: readonly Guarantee[] = [
  ...basicGuarantees,
  ...immutabilityGuarantees,
  ...tierGuarantees,
]

/** Whether a store has the ability that a guarantee is about. */
export function isPromisedBy(store: ObjectStore, { needs }: Guarantee): boolean {
  return needs === undefined || store[needs] !== undefined
}
