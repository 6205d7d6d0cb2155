import assert from 'node:assert/strict'
import { createBLAKE3, type IHasher } from 'hash-wasm'

/**
 * In the place of `@napi-rs/blake-hash` in the bundle: what of it the agent's code uses, in WebAssembly. One hasher a key;
 * each hash is begun and ended without waiting in between, as all users do.
 */
const hashers = new Map<string, IHasher>()
const UNKEYED = ''

/** As keyed-hash.ts has it. */
export async function prepareKeyedHash(key: Uint8Array): Promise<void> {
  if (!hashers.has(UNKEYED)) hashers.set(UNKEYED, await createBLAKE3(256))
  const name = nameOf(key)
  if (!hashers.has(name)) hashers.set(name, await createBLAKE3(256, key))
}

export class Blake3Hasher {
  readonly #hasher: IHasher

  private constructor(hasher: IHasher) {
    this.#hasher = hasher.init()
  }

  static newKeyed(key: Uint8Array): Blake3Hasher {
    return new Blake3Hasher(prepared(nameOf(key)))
  }

  update(bytes: Uint8Array): this {
    this.#hasher.update(bytes)
    return this
  }

  digestBuffer(): Buffer {
    return Buffer.from(this.#hasher.digest('binary'))
  }
}

export function blake3(bytes: Uint8Array): Buffer {
  return Buffer.from(prepared(UNKEYED).init().update(bytes).digest('binary'))
}

function prepared(name: string): IHasher {
  const hasher = hashers.get(name)
  assert(hasher !== undefined, 'keys are made ready before they are hashed with')
  return hasher
}

function nameOf(key: Uint8Array): string {
  return Buffer.from(key).toString('latin1')
}
