/**
 * Makes ready what hashes with this key. To be called with each key before it is hashed with: nothing to do where the hash
 * is native; in the bundle, where it is WebAssembly, this compiles it.
 */
export async function prepareKeyedHash(_key: Uint8Array): Promise<void> {}
