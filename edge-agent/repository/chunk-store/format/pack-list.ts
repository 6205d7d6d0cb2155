import type { ByteReader } from './byte-reader.ts'
import { PACK_ID_BYTES, packIdFromBytes, packIdToBytes } from './identity-bytes.ts'
import type { PackPlace } from './object-keys.ts'

const ENTRY_BYTES = PACK_ID_BYTES + 4

/** Packs sorted by id: a count (u32), then 24 bytes each. FORMAT.md, "Pack list". Doubles are written once. */
export function packListBytes(packs: Iterable<PackPlace>): Buffer {
  const sorted = [...new Map([...packs].map((pack) => [pack.packId, pack])).values()].toSorted((left, right) =>
    left.packId < right.packId ? -1 : 1,
  )
  const bytes = Buffer.alloc(4 + sorted.length * ENTRY_BYTES)
  bytes.writeUInt32LE(sorted.length, 0)
  for (const [index, pack] of sorted.entries()) {
    const at = 4 + index * ENTRY_BYTES
    bytes.set(packIdToBytes(pack.packId), at)
    bytes.writeUInt32LE(pack.generation, at + PACK_ID_BYTES)
  }
  return bytes
}

/** Throws an Error unless ids ascend strictly. */
export function readPackList(reader: ByteReader): PackPlace[] {
  const count = reader.u32()
  if (count * ENTRY_BYTES > reader.remainingBytes) throw new Error(`it has no room for ${count} packs`)
  const packs: PackPlace[] = []
  let previous = ''
  for (let index = 0; index < count; index += 1) {
    const packId = packIdFromBytes(reader.bytes(PACK_ID_BYTES))
    if (packId <= previous) throw new Error('its packs are not in order')
    packs.push({ packId, generation: reader.u32() })
    previous = packId
  }
  return packs
}
