import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { ChunkHash, ID_KEY_BYTES, isAllZeros } from '../../../mover/chunk-hash.ts'
import { CHUNK_ID_BYTES } from '../../../mover/chunk-ids.ts'
import { type HashId, hashIds } from './registered-ids.ts'

/** Computes chunk ids; those of zeros are 32 zero bytes with every hash. */
export type ChunkIdHash = Pick<ChunkHash, 'idOf'>

/** The hash a repository is registered with. @param idKey 32 bytes, copied */
export function createChunkIdHash(hashId: HashId, idKey: Uint8Array): ChunkIdHash {
  switch (hashId) {
    case hashIds.keyedBlake3:
      return new ChunkHash(idKey)
    case hashIds.hmacSha256:
      return new HmacChunkHash(idKey)
    default:
      throw new TypeError(`no such hash: ${String(hashId satisfies never)}`)
  }
}

class HmacChunkHash implements ChunkIdHash {
  readonly #key: Buffer

  constructor(idKey: Uint8Array) {
    assert.equal(idKey.length, ID_KEY_BYTES, 'the key of chunk ids has 32 bytes')
    this.#key = Buffer.from(idKey)
  }

  idOf(...parts: readonly Uint8Array[]): Uint8Array {
    if (parts.every((part) => isAllZeros(part))) return new Uint8Array(CHUNK_ID_BYTES)
    const hmac = createHmac('sha256', this.#key)
    for (const part of parts) hmac.update(part)
    return hmac.digest()
  }
}
