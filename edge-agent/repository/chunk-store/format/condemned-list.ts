import { ByteReader } from './byte-reader.ts'
import { type ClockReading, clockReadingBytes, readClockReading } from './clock-reading.ts'
import { UUID_BYTES, uuidFromBytes, uuidToBytes } from './identity-bytes.ts'
import { type OpenContext, openAndParse, type SealContext, sealBytes } from './object-context.ts'
import { condemnedListKey, type PackPlace } from './object-keys.ts'
import { packListBytes, readPackList } from './pack-list.ts'
import { objectKinds } from './sealed-object.ts'

/** Packs that a collection means to delete: no deduplication targets from now on. */
export interface CondemnedList {
  readonly runId: string
  /** When, by the store's clock. */
  readonly condemnedAt: Date
  /** Of the machine that condemned. */
  readonly clocks: ClockReading
  /** By ascending pack id, each once. */
  readonly packs: readonly PackPlace[]
}

/** The object for `condemnedListKey`. FORMAT.md, "Condemned list". */
export function encodeCondemnedList(list: CondemnedList, context: SealContext): Uint8Array {
  const time = Buffer.alloc(8)
  time.writeBigUInt64LE(BigInt(list.condemnedAt.getTime()))
  const content = Buffer.concat([
    uuidToBytes(list.runId),
    time,
    clockReadingBytes(list.clocks),
    packListBytes(list.packs),
  ])
  return sealBytes(placeOf(list), content, context)
}

/** Throws `repository.object_corrupt`, `repository.key_missing`, `repository.format_unsupported`. */
export function parseCondemnedList(
  bytes: Uint8Array,
  place: { readonly runId: string },
  context: OpenContext,
): CondemnedList {
  return openAndParse(bytes, placeOf(place), context, (content) => {
    const reader = new ByteReader(content)
    const runId = uuidFromBytes(reader.bytes(UUID_BYTES))
    const condemnedAt = new Date(reader.u64())
    if (Number.isNaN(condemnedAt.getTime())) throw new Error('it holds no time')
    const clocks = readClockReading(reader)
    const packs = readPackList(reader)
    reader.end()
    if (runId !== place.runId) throw new Error(`it is of run ${runId}`)
    return { runId, condemnedAt, clocks, packs }
  })
}

function placeOf({ runId }: { readonly runId: string }) {
  return { kind: objectKinds.condemnedList, objectKey: condemnedListKey(runId) }
}
