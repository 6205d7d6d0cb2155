import { Instant } from '@sendense/shared/contracts/identifiers.ts'
import { z } from 'zod'
import { ProcessIdentity } from '../../process-identity.ts'
import { type OpenContext, openAndParse, parseUtf8Json, type SealContext, sealJson } from './object-context.ts'
import { leaseKey, type LeasePlace } from './object-keys.ts'
import { objectKinds } from './sealed-object.ts'

/** One heartbeat of who writes to a repository or collects in it. Its age is the store's `modifiedAt`. */
export const Lease = z.strictObject({
  version: z.literal(1),
  writerId: z.uuid(),
  counter: z.int().nonnegative(),
  role: z.enum(['writer', 'collector']),
  agentId: z.uuid(),
  /** Generation that new packs go to. */
  generation: z.int().nonnegative(),
  /** By the writer's own clock: for people. */
  beganAt: Instant,
  /** What it does, where it writes a restore point. */
  vmId: z.uuid().optional(),
  restorePointId: z.uuid().optional(),
  /** Whose lease it is: who runs on the same machine can see that it is dead, and need not wait for the expiry. */
  holder: ProcessIdentity.optional(),
})
export type Lease = z.infer<typeof Lease>

/** The object for `leaseKey(lease)`. */
export function encodeLease(lease: Lease, context: SealContext): Uint8Array {
  return sealJson(placeOf(lease), Lease.parse(lease), context)
}

/** Throws `repository.object_corrupt`, `repository.key_missing`, `repository.format_unsupported`. */
export function parseLease(bytes: Uint8Array, place: LeasePlace, context: OpenContext): Lease {
  return openAndParse(bytes, placeOf(place), context, (content) => {
    const lease = Lease.parse(parseUtf8Json(content))
    if (leaseKey(lease) !== leaseKey(place)) throw new Error(`it is ${leaseKey(lease)}`)
    return lease
  })
}

function placeOf(lease: LeasePlace) {
  return { kind: objectKinds.lease, objectKey: leaseKey(lease) }
}
