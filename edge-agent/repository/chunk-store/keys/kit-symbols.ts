/** Crockford's Base32: digits and capital letters but I, L, O and U. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
/** Letters that are not in it, as people read them. */
const READ_AS: Readonly<Record<string, string>> = { O: '0', I: '1', L: '1', U: 'V' }
/** x⁵ + x² + 1: symbols are elements of the field of 32. */
const POLYNOMIAL = 0b100101
/** α¹ to α⁴; the check digit's own weight is 1, so that no two positions have the same. */
const WEIGHTS = [2, 4, 8, 16] as const

export const GROUP_DATA = WEIGHTS.length
export const GROUP_SYMBOLS = GROUP_DATA + 1

/** Symbols of 5 bits, most significant first; the last one is filled up with zero bits. */
export function toSymbols(bytes: Uint8Array): number[] {
  const symbols: number[] = []
  let held = 0
  let bits = 0
  for (const byte of bytes) {
    held = (held << 8) | byte
    bits += 8
    while (bits >= 5) {
      bits -= 5
      symbols.push((held >> bits) & 31)
    }
    held &= (1 << bits) - 1
  }
  if (bits > 0) symbols.push((held << (5 - bits)) & 31)
  return symbols
}

/** The bytes of `toSymbols`, or undefined where the bits that fill up are not zero. */
export function fromSymbols(symbols: readonly number[]): Uint8Array | undefined {
  const bytes: number[] = []
  let held = 0
  let bits = 0
  for (const symbol of symbols) {
    held = (held << 5) | symbol
    bits += 5
    if (bits < 8) continue
    bits -= 8
    bytes.push(held >> bits)
    held &= (1 << bits) - 1
  }
  return held === 0 && bits < 5 ? Uint8Array.from(bytes) : undefined
}

/**
 * The check digit of a group. One wrong symbol, two exchanged ones (the check digit among them) and a group in
 * another group's place are always found.
 * @param data four symbols
 * @param groupIndex 0 to 30
 */
export function checkSymbol(data: readonly number[], groupIndex: number): number {
  return WEIGHTS.reduce((sum, weight, index) => sum ^ multiply(weight, data[index] ?? 0), groupIndex + 1)
}

function multiply(left: number, right: number): number {
  let product = 0
  for (let bit = 4; bit >= 0; bit -= 1) {
    product <<= 1
    if ((product & 32) !== 0) product ^= POLYNOMIAL
    if ((right & (1 << bit)) !== 0) product ^= left
  }
  return product
}

export function symbolText(symbols: readonly number[]): string {
  return symbols.map((symbol) => ALPHABET.charAt(symbol)).join('')
}

/** In any case, O for 0, I and L for 1. Undefined for a character that stands for none. */
export function parseSymbol(character: string): number | undefined {
  const upper = character.toUpperCase()
  const symbol = ALPHABET.indexOf(READ_AS[upper] ?? upper)
  return symbol === -1 || upper.length !== 1 ? undefined : symbol
}
