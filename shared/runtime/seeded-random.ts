/** Numbers in [0, 1) that are the same for the same seed: xorshift32 (Marsaglia, "Xorshift RNGs", 2003). */
export function seededRandom(seed: number): () => number {
  let state = (seed ^ 0x9e3779b9) >>> 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state / 2 ** 32
  }
}

/** Bytes that do not compress and are the same for the same seed. */
export function seededBytes(seed: number): (lengthBytes: number) => Uint8Array {
  const random = seededRandom(seed)
  return (lengthBytes) => {
    const words = new Uint32Array(Math.ceil(lengthBytes / 4))
    for (let index = 0; index < words.length; index += 1) words[index] = random() * 2 ** 32
    return new Uint8Array(words.buffer, 0, lengthBytes)
  }
}
