import { ByteReader } from './byte-reader.ts'
import { TAG_BYTES } from './chunk-record.ts'
import {
  PACK_ID_BYTES,
  packIdFromBytes,
  packIdToBytes,
  UUID_BYTES,
  uuidFromBytes,
  uuidToBytes,
} from './identity-bytes.ts'
import { type OpenContext, openAndParse, type SealContext, sealBytes } from './object-context.ts'
import { indexDeltaKey, type IndexPlace, type PackPlace } from './object-keys.ts'
import { type PackDirectory, parseDirectory } from './pack-directory.ts'
import { DIRECTORY_ENTRY_BYTES, FOOTER_BYTES, PACK_CHUNKS_MAX } from './pack-footer.ts'
import { objectKinds } from './sealed-object.ts'

const PACK_HEAD_BYTES = PACK_ID_BYTES + 12

/** What a catalogue knows of one pack. */
export interface IndexedPack extends PackPlace {
  readonly epoch: number
  readonly directory: PackDirectory
}

/** Directories of packs that one session wrote: a shortcut past the packs' own ends, which hold the same. */
export interface IndexDelta extends IndexPlace {
  readonly packs: readonly IndexedPack[]
}

/** Length of a pack with this directory. */
export function packSizeBytesOf(directory: PackDirectory): number {
  return directory.recordBytes + directory.bytes.length + TAG_BYTES + FOOTER_BYTES
}

/** Bytes that a pack adds to an index: writers begin another one before 256 MiB. */
export function indexedPackBytes(directory: PackDirectory): number {
  return PACK_HEAD_BYTES + directory.bytes.length
}

/** The object for `indexDeltaKey`. FORMAT.md, "Index delta". */
export function encodeIndexDelta(index: IndexDelta, context: SealContext): Uint8Array {
  const head = Buffer.alloc(UUID_BYTES + 8)
  head.set(uuidToBytes(index.indexId), 0)
  head.writeUInt32LE(index.generation, UUID_BYTES)
  head.writeUInt32LE(index.packs.length, UUID_BYTES + 4)
  const packs = index.packs.flatMap((pack) => {
    const packHead = Buffer.alloc(PACK_HEAD_BYTES)
    packHead.set(packIdToBytes(pack.packId), 0)
    packHead.writeUInt32LE(pack.generation, PACK_ID_BYTES)
    packHead.writeUInt32LE(pack.epoch, PACK_ID_BYTES + 4)
    packHead.writeUInt32LE(pack.directory.count, PACK_ID_BYTES + 8)
    return [packHead, pack.directory.bytes]
  })
  return sealBytes(placeOf(index), Buffer.concat([head, ...packs]), context)
}

/**
 * @param place what the object's key says
 * Throws `repository.object_corrupt`, `repository.key_missing`, `repository.format_unsupported`.
 */
export function parseIndexDelta(bytes: Uint8Array, place: IndexPlace, context: OpenContext): IndexDelta {
  return openAndParse(bytes, placeOf(place), context, (content) => {
    const reader = new ByteReader(content)
    const indexId = uuidFromBytes(reader.bytes(UUID_BYTES))
    const generation = reader.u32()
    const count = reader.u32()
    const packs: IndexedPack[] = []
    for (let index = 0; index < count; index += 1) packs.push(readPack(reader))
    reader.end()
    if (indexId !== place.indexId || generation !== place.generation) throw new Error(`it is index ${indexId}`)
    return { indexId, generation, packs }
  })
}

function readPack(reader: ByteReader): IndexedPack {
  const packId = packIdFromBytes(reader.bytes(PACK_ID_BYTES))
  const generation = reader.u32()
  const epoch = reader.u32()
  const chunkCount = reader.u32()
  if (epoch === 0 || chunkCount > PACK_CHUNKS_MAX) throw new Error(`what it says of pack ${packId} cannot be`)
  const entries = reader.bytes(chunkCount * DIRECTORY_ENTRY_BYTES)
  return { packId, generation, epoch, directory: parseDirectory(entries, undefined, { packId }) }
}

function placeOf(index: IndexPlace) {
  return { kind: objectKinds.indexDelta, objectKey: indexDeltaKey(index) }
}
