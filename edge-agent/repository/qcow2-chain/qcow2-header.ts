import { open } from 'node:fs/promises'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

/** "QFI\xfb" (QEMU docs/interop/qcow2.txt, "Header"). */
const MAGIC = 0x514649fb
const HEADER_BYTES = 104
/** "crypt_method". */
const ENCRYPTED_LUKS = 2

/**
 * Checks that a file is a sealed layer of a disk of `sizeBytes`: QCOW2 version 3, encrypted with LUKS or not as the
 * repository is, no incompatible features. So neither an external data file named by the header is opened, nor an image that was not closed
 * cleanly (qcow2.txt, "incompatible_features" bits 0 to 2). All numbers are big-endian.
 * Rejects with `repository.chunk_corrupt` where it is none or missing; other errors of the system pass.
 */
export async function checkLayerHeader(
  path: string,
  { sizeBytes, encrypted }: { readonly sizeBytes: number; readonly encrypted: boolean },
): Promise<void> {
  const header = await readHeader(path)
  const refuse = (why: string): never => {
    throw new PlatformError('repository.chunk_corrupt', `layer ${path} ${why}`, { details: { layer: path } })
  }
  if (header.byteLength < HEADER_BYTES) refuse('is cut short')
  if (header.readUInt32BE(0) !== MAGIC || header.readUInt32BE(4) !== 3) refuse('is no QCOW2 file of version 3')
  if (header.readBigUInt64BE(24) !== BigInt(sizeBytes)) refuse(`is not of a disk of ${sizeBytes} bytes`)
  const method = encrypted ? ENCRYPTED_LUKS : 0
  if (header.readUInt32BE(32) !== method) refuse(encrypted ? 'is not encrypted with LUKS' : 'is encrypted')
  if (header.readBigUInt64BE(72) !== 0n) refuse('has features that sealed layers do not have')
}

async function readHeader(path: string): Promise<Buffer> {
  try {
    const file = await open(path, 'r')
    try {
      const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(HEADER_BYTES), position: 0 })
      return buffer.subarray(0, bytesRead)
    } finally {
      await file.close()
    }
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
    throw new PlatformError('repository.chunk_corrupt', `layer ${path} is missing`, {
      cause: error,
      details: { layer: path },
    })
  }
}
