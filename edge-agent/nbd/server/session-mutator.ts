/** A seeded sequence of numbers: xorshift32 (Marsaglia, "Xorshift RNGs", 2003). */
export class SeededNumbers {
  #state: number

  constructor(seed: number) {
    this.#state = (seed ^ 0x9e3779b9) >>> 0 || 1
  }

  /** A whole number from 0 up to, not including, `limit`. */
  below(limit: number): number {
    this.#state ^= this.#state << 13
    this.#state ^= this.#state >>> 17
    this.#state ^= this.#state << 5
    this.#state >>>= 0
    return Math.floor((this.#state / 2 ** 32) * limit)
  }

  pick<T>(among: readonly T[]): T {
    const picked = among[this.below(among.length)]
    if (picked === undefined) throw new Error('nothing to pick from')
    return picked
  }
}

const BYTES = [0, 1, 2, 0x7f, 0x80, 0xff]
const WORDS = [0, 1, 2, 7, 8, 255, 512, 4096, 32_768, 65_535]
const DOUBLE_WORDS = [0, 1, 65_535, 65_536, 65_537, 2 ** 25, 2 ** 25 + 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1]
const QUAD_WORDS = [0n, 1n, 65_536n, 2n ** 32n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 512n, 2n ** 64n - 1n]

type Mutation = (session: Buffer, numbers: SeededNumbers, others: readonly Buffer[]) => Buffer

const MUTATIONS: readonly Mutation[] = [
  (session, numbers) =>
    changed(session, numbers, 1, (at) => (session[at] = (session[at] ?? 0) ^ (1 << numbers.below(8)))),
  (session, numbers) => changed(session, numbers, 1, (at) => (session[at] = numbers.pick(BYTES))),
  (session, numbers) => changed(session, numbers, 2, (at) => session.writeUInt16BE(numbers.pick(WORDS), at)),
  (session, numbers) => changed(session, numbers, 4, (at) => session.writeUInt32BE(numbers.pick(DOUBLE_WORDS), at)),
  (session, numbers) => changed(session, numbers, 8, (at) => session.writeBigUInt64BE(numbers.pick(QUAD_WORDS), at)),
  (session, numbers) => session.subarray(0, numbers.below(session.length + 1)),
  (session, numbers) => {
    const [from, to] = range(session, numbers)
    return Buffer.concat([session.subarray(0, from), session.subarray(to)])
  },
  (session, numbers) => {
    const [from, to] = range(session, numbers)
    return Buffer.concat([session.subarray(0, to), session.subarray(from)])
  },
  (session, numbers) => {
    const at = numbers.below(session.length + 1)
    const noise = Buffer.from(Array.from({ length: 1 + numbers.below(40) }, () => numbers.below(256)))
    return Buffer.concat([session.subarray(0, at), noise, session.subarray(at)])
  },
  (session, numbers, others) => {
    const other = numbers.pick(others)
    return Buffer.concat([
      session.subarray(0, numbers.below(session.length + 1)),
      other.subarray(numbers.below(other.length)),
    ])
  },
]

/**
 * What a client sends, changed in one to four places: bits and numbers, parts cut out, doubled, invented or taken from
 * other sessions. The same for the same numbers.
 */
export function mutateSession(session: Buffer, numbers: SeededNumbers, others: readonly Buffer[]): Buffer {
  let mutated: Buffer = Buffer.from(session)
  const count = 1 + numbers.below(4)
  for (let done = 0; done < count; done += 1) {
    if (mutated.length > 0) mutated = Buffer.from(numbers.pick(MUTATIONS)(mutated, numbers, others))
  }
  return mutated
}

function changed(session: Buffer, numbers: SeededNumbers, bytes: number, change: (at: number) => void): Buffer {
  if (session.length >= bytes) change(numbers.below(session.length - bytes + 1))
  return session
}

function range(session: Buffer, numbers: SeededNumbers): [from: number, to: number] {
  const from = numbers.below(session.length)
  return [from, Math.min(session.length, from + 1 + numbers.below(60))]
}
