import { ByteReader } from './byte-reader.ts'
import { UUID_BYTES, uuidFromBytes, uuidToBytes } from './identity-bytes.ts'
import { type OpenContext, openAndParse, type SealContext, sealBytes } from './object-context.ts'
import { packSetKey, type PackPlace, type PackSetPlace } from './object-keys.ts'
import { packListBytes, readPackList } from './pack-list.ts'
import { objectKinds } from './sealed-object.ts'

/** All packs that one restore point needs. */
export interface PackSet extends PackSetPlace {
  /** By ascending pack id, each once. */
  readonly packs: readonly PackPlace[]
}

/** The object for `packSetKey(set)`. FORMAT.md, "Pack set". */
export function encodePackSet(set: PackSet, context: SealContext): Uint8Array {
  const revision = Buffer.alloc(4)
  revision.writeUInt32LE(set.revision)
  const head = [uuidToBytes(set.vmId), uuidToBytes(set.restorePointId), revision]
  return sealBytes(placeOf(set), Buffer.concat([...head, packListBytes(set.packs)]), context)
}

/**
 * @param place what the object's key says
 * Throws `repository.object_corrupt`, `repository.key_missing`, `repository.format_unsupported`.
 */
export function parsePackSet(bytes: Uint8Array, place: PackSetPlace, context: OpenContext): PackSet {
  return openAndParse(bytes, placeOf(place), context, (content) => {
    const reader = new ByteReader(content)
    const set = {
      vmId: uuidFromBytes(reader.bytes(UUID_BYTES)),
      restorePointId: uuidFromBytes(reader.bytes(UUID_BYTES)),
      revision: reader.u32(),
      packs: readPackList(reader),
    }
    reader.end()
    if (packSetKey(set) !== packSetKey(place)) throw new Error(`it is ${packSetKey(set)}`)
    return set
  })
}

function placeOf(set: PackSetPlace) {
  return { kind: objectKinds.packSet, objectKey: packSetKey(set) }
}
