import { argon2id } from 'hash-wasm'

interface RawOptions {
  readonly memoryCost: number
  readonly timeCost: number
  readonly parallelism: number
  readonly outputLen: number
  readonly salt: Uint8Array
}

/** In the place of `hashRaw` of `@node-rs/argon2` in the bundle: Argon2id, version 19, in WebAssembly. */
export async function hashRaw(password: string, options: RawOptions): Promise<Buffer> {
  const bytes = await argon2id({
    password,
    salt: options.salt,
    memorySize: options.memoryCost,
    iterations: options.timeCost,
    parallelism: options.parallelism,
    hashLength: options.outputLen,
    outputType: 'binary',
  })
  return Buffer.from(bytes)
}
