import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { S3Refusal } from './s3-answer.ts'

/**
 * Which checksum of the body the headers hold, beside its signature: Amazon S3 User Guide, "Checking object integrity".
 * Refuses with BadDigest when it is another body's, InvalidDigest when it cannot be a checksum.
 */
export function bodyChecksum(headers: Readonly<Record<string, string>>, body: Uint8Array): 'md5' | 'crc32' | 'none' {
  const md5 = headers['content-md5']
  if (md5 !== undefined) {
    if (Buffer.from(md5, 'base64').length !== 16) {
      throw new S3Refusal(400, 'InvalidDigest', 'The Content-MD5 you specified was invalid')
    }
    expectSame(md5, createHash('md5').update(body).digest('base64'))
    return 'md5'
  }
  const crc = headers['x-amz-checksum-crc32']
  if (crc === undefined) return 'none'
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(crc32(body))
  expectSame(crc, bytes.toString('base64'))
  return 'crc32'
}

function expectSame(found: string, wanted: string): void {
  if (found === wanted) return
  throw new S3Refusal(
    400,
    'BadDigest',
    'The Content-MD5 or checksum value that you specified did not match what was received.',
  )
}
