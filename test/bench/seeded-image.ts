import { createCipheriv } from 'node:crypto'
import { open } from 'node:fs/promises'

const PIECE_BYTES = 16 * 1024 * 1024

/**
 * Writes a sparse raw image: pieces of 16 MiB, of which `dataShare` hold bytes that do not compress, evenly spread; the
 * rest are holes. The same seed makes the same image.
 * @returns how many bytes are data
 */
export async function writeSeededImage(
  path: string,
  { sizeBytes, dataShare, seed }: { readonly sizeBytes: number; readonly dataShare: number; readonly seed: number },
): Promise<number> {
  await using file = await open(path, 'w')
  await file.truncate(sizeBytes)
  const bytes = seededBytes(seed)
  let dataBytes = 0
  for (let at = 0; at < sizeBytes; at += PIECE_BYTES) {
    if (Math.floor((at / PIECE_BYTES) * dataShare) === Math.floor((at / PIECE_BYTES + 1) * dataShare)) continue
    const piece = bytes(Math.min(PIECE_BYTES, sizeBytes - at))
    await file.write(piece, 0, piece.length, at)
    dataBytes += piece.length
  }
  return dataBytes
}

/** An endless stream of bytes, the same for the same seed: AES-128 in counter mode. */
export function seededBytes(seed: number): (lengthBytes: number) => Buffer {
  const key = Buffer.alloc(16)
  key.writeUInt32BE(seed >>> 0)
  const cipher = createCipheriv('aes-128-ctr', key, Buffer.alloc(16))
  return (lengthBytes) => cipher.update(Buffer.alloc(lengthBytes))
}
