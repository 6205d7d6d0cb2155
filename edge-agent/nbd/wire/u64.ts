/** A u64 as a number: not exact beyond 2^53, where no disk reaches, and refused there by every range check. */
export function readU64(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4)
}

/**
 * @param value a safe integer, not negative
 * @returns the offset behind it
 */
export function writeU64(into: Buffer, value: number, at: number): number {
  into.writeUInt32BE(Math.floor(value / 2 ** 32), at)
  return into.writeUInt32BE(value % 2 ** 32, at + 4)
}
