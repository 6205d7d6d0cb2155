import { DIRECTORY_ORDINAL, PackCipher, TAG_BYTES } from './chunk-record.ts'
import { type PackDirectory, parseDirectory } from './pack-directory.ts'
import {
  FOOTER_BYTES,
  FOOTER_HASH_AT,
  packCorrupt,
  type PackFooter,
  type PackName,
  parsePackFooter,
} from './pack-footer.ts'
import type { RepositoryKeys } from './repository-keys.ts'

/** What the first request for the end of a pack asks for: directories of most packs fit in. */
const TAIL_BYTES = 64 * 1024

/** The end of a pack, read and consistent, not yet proven by a key. */
export interface PackTail {
  readonly footer: PackFooter
  /** The footer as it lies there. */
  readonly footerBytes: Uint8Array
  /** Encrypted, with its tag. */
  readonly sealedDirectory: Uint8Array
}

/**
 * Reads footer and directory of a pack in one range request, or two where the directory is long.
 * @param read fills `into` with the pack's bytes from `offsetBytes` on; its errors pass
 * @param sizeBytes length of the whole object
 * Rejects with `repository.pack_corrupt` or `repository.format_unsupported`.
 */
export async function readPackTail(
  read: (offsetBytes: number, into: Uint8Array) => Promise<void>,
  sizeBytes: number,
  name: PackName,
): Promise<PackTail> {
  if (sizeBytes < FOOTER_BYTES) throw packCorrupt(name, `it has only ${sizeBytes} bytes`)
  const tail = new Uint8Array(Math.min(sizeBytes, TAIL_BYTES))
  const tailAt = sizeBytes - tail.length
  await read(tailAt, tail)
  const footerBytes = tail.subarray(tail.length - FOOTER_BYTES)
  const footer = parsePackFooter(footerBytes, sizeBytes, name)
  const { directoryOffset, directoryBytes } = footer
  if (directoryOffset >= tailAt) {
    const at = directoryOffset - tailAt
    return { footer, footerBytes, sealedDirectory: tail.subarray(at, at + directoryBytes) }
  }
  const sealedDirectory = new Uint8Array(directoryBytes)
  const missing = tailAt - directoryOffset
  await read(directoryOffset, sealedDirectory.subarray(0, missing))
  sealedDirectory.set(tail.subarray(0, directoryBytes - missing), missing)
  return { footer, footerBytes, sealedDirectory }
}

/**
 * Decrypts the directory. That it opens proves every field of the footer but the hash too.
 * Throws `repository.pack_corrupt`, or `repository.key_missing` for an epoch that is not in the key ring.
 */
export function openPackDirectory(tail: PackTail, keys: RepositoryKeys): PackDirectory {
  const { footer } = tail
  const cipher = packCipherOf(footer, keys)
  const entries = Buffer.allocUnsafeSlow(tail.sealedDirectory.length - TAG_BYTES)
  try {
    cipher.open(DIRECTORY_ORDINAL, tail.footerBytes.subarray(0, FOOTER_HASH_AT), tail.sealedDirectory, entries)
  } catch (error) {
    throw packCorrupt(footer, 'its directory does not open with the key of this repository', error)
  }
  return parseDirectory(entries, footer.directoryOffset, footer)
}

/** Opens chunk records of a pack. Throws `repository.key_missing`. */
export function packCipherOf(
  pack: Pick<PackFooter, 'repositoryId' | 'packId' | 'epoch'>,
  keys: RepositoryKeys,
): PackCipher {
  return new PackCipher(pack.repositoryId, pack.packId, keys.epochKey(pack.epoch))
}
