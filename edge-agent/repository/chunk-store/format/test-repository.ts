import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { seededBytes } from '@sendense/shared/runtime/seeded-random.ts'
import { hkdfExpand } from './hkdf.ts'
import type { SealContext } from './object-context.ts'
import { packBufferBytes, PackBuilder, type NewPack } from './pack-builder.ts'
import type { RepositoryKeys } from './repository-keys.ts'

/** Bytes that are the same for the same seed, one after the other. For tests only. */
export function fixedRandomness(seed: number): (lengthBytes: number) => Uint8Array {
  const key = Buffer.alloc(32, seed)
  let counter = 0
  return (lengthBytes) => {
    counter += 1
    return hkdfExpand(key, Buffer.from(`test ${counter}`), lengthBytes)
  }
}

/** Keys of epochs 7 and 8 that are the same for the same seed. */
export function fixedKeys(seed: number): RepositoryKeys {
  const random = fixedRandomness(seed)
  const epochs = new Map([7, 8].map((epoch) => [epoch, random(32)]))
  return {
    newestEpoch: 8,
    macKey: random(32),
    epochKey: (epoch) => {
      const key = epochs.get(epoch)
      if (key === undefined) throw new PlatformError('repository.key_missing', `no key of epoch ${epoch}`)
      return key
    },
  }
}

export const REPOSITORY_ID = '0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b'
export const OTHER_ID = '0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5c'
export const PACK_NAME = {
  repositoryId: REPOSITORY_ID,
  packId: '00112233445566778899aabbccddeeff01234567',
  generation: 3,
}

/** A context of its own randomness. */
export function fixedContext(seed = 1): SealContext {
  return { repositoryId: REPOSITORY_ID, keys: fixedKeys(seed), randomBytes: fixedRandomness(seed + 100) }
}

export const CHUNK_SIZE_BYTES = 64 * 1024

export function newTestPack(changes: Partial<NewPack> = {}): PackBuilder {
  const packSizeBytes = changes.packSizeBytes ?? 4 * CHUNK_SIZE_BYTES
  const chunkSizeBytes = changes.chunkSizeBytes ?? CHUNK_SIZE_BYTES
  return new PackBuilder({
    ...PACK_NAME,
    epoch: 8,
    epochKey: fixedKeys(1).epochKey(8),
    packSizeBytes,
    chunkSizeBytes,
    compression: 'balanced',
    buffer: new Uint8Array(packBufferBytes(packSizeBytes, chunkSizeBytes)),
    ...changes,
  })
}

/** Content of a chunk: text that compresses, or noise that does not. */
export function chunkContent(seed: number, lengthBytes: number, isText: boolean): Uint8Array {
  if (!isText) return seededBytes(seed)(lengthBytes)
  return Buffer.alloc(lengthBytes, `${seed} is a line of a log file that repeats itself.\n`)
}

/** A copy with one bit turned. */
export function withFlippedBit(bytes: Uint8Array, bit: number): Uint8Array {
  const flipped = Uint8Array.from(bytes)
  flipped.set([(flipped.at(bit >> 3) ?? 0) ^ (1 << (bit & 7))], bit >> 3)
  return flipped
}
