import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { TAG_BYTES } from './chunk-record.ts'
import { packIdFromBytes, packIdToBytes, uuidFromBytes, uuidToBytes } from './identity-bytes.ts'
import { FORMAT_VERSION } from './registered-ids.ts'

export const FOOTER_BYTES = 128
export const SHA256_BYTES = 32
/** Where the footer's hash begins: it covers all bytes of the object before it. */
export const FOOTER_HASH_AT = FOOTER_BYTES - SHA256_BYTES
export const DIRECTORY_ENTRY_BYTES = 48
/** No pack is larger: readers refuse what claims to be. */
export const PACK_MAX_BYTES = 64 * 1024 * 1024
export const PACK_CHUNKS_MAX = 65_536

const MAGIC = Buffer.from('SDPACK1\0', 'latin1')
const RESERVED = { shortAt: 36, longAt: 76, endsAt: FOOTER_HASH_AT } as const

export interface PackFooter {
  readonly repositoryId: string
  readonly packId: string
  readonly epoch: number
  readonly generation: number
  readonly chunkCount: number
  /** Where the encrypted directory begins: right behind the chunks. */
  readonly directoryOffset: number
  /** Its length with its tag. */
  readonly directoryBytes: number
}

/** A pack as its key and its repository name it. */
export interface PackName {
  readonly repositoryId: string
  readonly packId: string
  readonly generation: number
}

/** Writes all of the footer but its hash to the first bytes of `into`. FORMAT.md, "Footer". */
export function writeFooterHead(footer: PackFooter, into: Buffer): void {
  into.fill(0, 0, FOOTER_BYTES)
  into.set(MAGIC, 0)
  into.writeUInt16LE(FORMAT_VERSION, 8)
  into.writeUInt16LE(0, 10) // flags: none yet
  into.writeUInt32LE(footer.epoch, 12)
  into.writeUInt32LE(footer.generation, 16)
  into.writeUInt32LE(footer.chunkCount, 20)
  into.writeBigUInt64LE(BigInt(footer.directoryOffset), 24)
  into.writeUInt32LE(footer.directoryBytes, 32)
  into.set(uuidToBytes(footer.repositoryId), 40)
  into.set(packIdToBytes(footer.packId), 56)
}

/**
 * The footer of an object of `sizeBytes`, checked against itself, that size and the pack it is read as.
 * @param bytes its last 128 bytes
 * Throws `repository.pack_corrupt`, or `repository.format_unsupported` for a pack of a later version.
 */
export function parsePackFooter(bytes: Uint8Array, sizeBytes: number, name: PackName): PackFooter {
  if (bytes.length !== FOOTER_BYTES) throw packCorrupt(name, `it has no room for a footer: ${sizeBytes} bytes`)
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  if (!view.subarray(0, MAGIC.length).equals(MAGIC)) throw packCorrupt(name, 'it does not end as a pack does')
  const version = view.readUInt16LE(8)
  if (version > FORMAT_VERSION) {
    throw new PlatformError('repository.format_unsupported', `pack ${name.packId} is of format version ${version}`)
  }
  const directoryOffset = view.readBigUInt64LE(24)
  const footer: PackFooter = {
    repositoryId: uuidFromBytes(view.subarray(40, 56)),
    packId: packIdFromBytes(view.subarray(56, 76)),
    epoch: view.readUInt32LE(12),
    generation: view.readUInt32LE(16),
    chunkCount: view.readUInt32LE(20),
    directoryOffset: directoryOffset > PACK_MAX_BYTES ? Infinity : Number(directoryOffset),
    directoryBytes: view.readUInt32LE(32),
  }
  const wrong = whatIsWrong(footer, sizeBytes, name)
  if (wrong !== undefined) throw packCorrupt(name, wrong)
  const isReserved =
    view.readUInt16LE(10) === 0 &&
    view.readUInt32LE(RESERVED.shortAt) === 0 &&
    view.subarray(RESERVED.longAt, RESERVED.endsAt).every((byte) => byte === 0)
  if (version === 0 || !isReserved) throw packCorrupt(name, 'its footer holds what no version has')
  return footer
}

function whatIsWrong(footer: PackFooter, sizeBytes: number, name: PackName): string | undefined {
  if (footer.repositoryId !== name.repositoryId) return `it is of repository ${footer.repositoryId}`
  if (footer.packId !== name.packId) return `it is pack ${footer.packId}`
  if (footer.generation !== name.generation) return `it is of generation ${footer.generation}, not ${name.generation}`
  if (footer.epoch === 0) return 'it names no key'
  if (sizeBytes > PACK_MAX_BYTES) return `it has ${sizeBytes} bytes`
  if (footer.chunkCount === 0 || footer.chunkCount > PACK_CHUNKS_MAX) return `it has ${footer.chunkCount} chunks`
  const directoryBytes = footer.chunkCount * DIRECTORY_ENTRY_BYTES + TAG_BYTES
  if (footer.directoryBytes !== directoryBytes) return `its directory has ${footer.directoryBytes} bytes`
  if (footer.directoryOffset + footer.directoryBytes + FOOTER_BYTES !== sizeBytes) {
    return `its parts are not the ${sizeBytes} bytes that it has`
  }
  return undefined
}

export function packCorrupt(name: { readonly packId: string }, why: string, cause?: unknown): PlatformError {
  return new PlatformError('repository.pack_corrupt', `pack ${name.packId}: ${why}`, {
    cause,
    details: { packId: name.packId },
  })
}
