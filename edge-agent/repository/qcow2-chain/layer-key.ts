import { hkdfSync, timingSafeEqual } from 'node:crypto'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { QemuSecret } from '../../qemu/qemu-secret.ts'
import type { RepositoryDescriptor } from './repository-descriptor.ts'

const LAYER_KEY_BYTES = 32
const SECRET_ID = 'layer-key'
const CHECK_INFO = 'sendense repository layer key check v1'

/**
 * Tells the right key from others without saying anything of it: HKDF-SHA-256 of the key, salted with the repository's
 * id; 64 hexadecimal digits.
 * @throws PlatformError `config.invalid` unless the key has 32 bytes
 */
export function layerKeyCheck(repositoryId: string, layerKey: Uint8Array): string {
  if (layerKey.length !== LAYER_KEY_BYTES) {
    throw new PlatformError('config.invalid', `the key of the layers has ${layerKey.length} bytes, wanted 32`)
  }
  return Buffer.from(hkdfSync('sha256', layerKey, repositoryId, CHECK_INFO, 32)).toString('hex')
}

/**
 * What QEMU opens the layers of this repository with; undefined where they are not encrypted.
 * @throws PlatformError `repository.key_wrong` where the key is another, is missing, or is given for layers that are not
 *   encrypted: somebody counts on it
 */
export function layerSecretOf(
  { repositoryId, encryption }: RepositoryDescriptor,
  layerKey: Uint8Array | undefined,
): QemuSecret | undefined {
  if (encryption === undefined && layerKey === undefined) return undefined
  if (encryption === undefined) throw keyWrong(repositoryId, 'is not encrypted, but a key was given')
  if (layerKey === undefined) throw keyWrong(repositoryId, 'is encrypted, and no key was given')
  const check = Buffer.from(layerKeyCheck(repositoryId, layerKey), 'hex')
  if (!timingSafeEqual(check, Buffer.from(encryption.keyCheck, 'hex'))) {
    throw keyWrong(repositoryId, 'is encrypted with another key')
  }
  return { id: SECRET_ID, text: Buffer.from(layerKey).toString('base64') }
}

function keyWrong(repositoryId: string, why: string): PlatformError {
  return new PlatformError('repository.key_wrong', `repository ${repositoryId} ${why}`, { details: { repositoryId } })
}
