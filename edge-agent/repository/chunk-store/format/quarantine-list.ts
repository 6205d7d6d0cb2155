import { Hash256, Instant } from '@sendense/shared/contracts/identifiers.ts'
import { z } from 'zod'
import { isPackId } from './identity-bytes.ts'
import { type OpenContext, openAndParse, parseUtf8Json, type SealContext, sealJson } from './object-context.ts'
import { quarantineListKey } from './object-keys.ts'
import { objectKinds } from './sealed-object.ts'

const PackId = z.string().refine(isPackId, 'a pack id')
const Reason = z.string().max(500)

/** What was found corrupt: no deduplication target, and to be read from its source again. */
export const QuarantineList = z.strictObject({
  version: z.literal(1),
  quarantineId: z.uuid(),
  /** By the clock of who found it. */
  foundAt: Instant,
  /** Packs of which nothing can be relied on. */
  packs: z.array(z.strictObject({ packId: PackId, generation: z.int().nonnegative(), reason: Reason })).max(100_000),
  /** Single chunks of packs that are otherwise in order. */
  chunks: z
    .array(z.strictObject({ packId: PackId, ordinal: z.int().nonnegative(), chunkId: Hash256, reason: Reason }))
    .max(100_000),
})
export type QuarantineList = z.infer<typeof QuarantineList>

/** The object for `quarantineListKey`. */
export function encodeQuarantineList(list: QuarantineList, context: SealContext): Uint8Array {
  return sealJson(placeOf(list), QuarantineList.parse(list), context)
}

/** Throws `repository.object_corrupt`, `repository.key_missing`, `repository.format_unsupported`. */
export function parseQuarantineList(
  bytes: Uint8Array,
  place: { readonly quarantineId: string },
  context: OpenContext,
): QuarantineList {
  return openAndParse(bytes, placeOf(place), context, (content) => {
    const list = QuarantineList.parse(parseUtf8Json(content))
    if (list.quarantineId !== place.quarantineId) throw new Error(`it is list ${list.quarantineId}`)
    return list
  })
}

function placeOf({ quarantineId }: { readonly quarantineId: string }) {
  return { kind: objectKinds.quarantineList, objectKey: quarantineListKey(quarantineId) }
}
