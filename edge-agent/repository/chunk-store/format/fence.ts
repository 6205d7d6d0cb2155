import { z } from 'zod'
import { ClockReading } from './clock-reading.ts'
import { type OpenContext, openAndParse, parseUtf8Json, type SealContext, sealJson } from './object-context.ts'
import { fenceKey } from './object-keys.ts'
import { objectKinds } from './sealed-object.ts'

/** Shuts a writer out: while it is there he may not seal, and what he seals all the same is void. It stays for good. */
export const Fence = z.strictObject({
  version: z.literal(1),
  /** Whom it shuts out. */
  writerId: z.uuid(),
  /** The collection or the writer that put it. */
  fencedBy: z.uuid(),
  /** Of whoever put it. */
  clocks: ClockReading,
  /** What he was writing; absent where his lease did not say. */
  vmId: z.uuid().optional(),
  restorePointId: z.uuid().optional(),
})
export type Fence = z.infer<typeof Fence>

/** The object for `fenceKey`. */
export function encodeFence(fence: Fence, context: SealContext): Uint8Array {
  return sealJson(placeOf(fence), Fence.parse(fence), context)
}

/** Throws `repository.object_corrupt`, `repository.key_missing`, `repository.format_unsupported`. */
export function parseFence(bytes: Uint8Array, place: { readonly writerId: string }, context: OpenContext): Fence {
  return openAndParse(bytes, placeOf(place), context, (content) => {
    const fence = Fence.parse(parseUtf8Json(content))
    if (fence.writerId !== place.writerId) throw new Error(`it is of writer ${fence.writerId}`)
    return fence
  })
}

function placeOf({ writerId }: { readonly writerId: string }) {
  return { kind: objectKinds.lease, objectKey: fenceKey(writerId) }
}
