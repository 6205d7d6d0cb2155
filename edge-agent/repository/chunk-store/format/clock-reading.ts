import { z } from 'zod'
import type { ByteReader } from './byte-reader.ts'
import { UUID_BYTES, uuidFromBytes, uuidToBytes } from './identity-bytes.ts'

/**
 * What a machine's own clocks said when it put an object. How old the object is says the store's clock; that is believed only
 * where the machine's clocks agree.
 */
export const ClockReading = z.strictObject({
  /** Milliseconds since 1970. */
  wallMs: z.int().nonnegative(),
  /** Changes with every boot of the machine. */
  bootId: z.uuid(),
  /** Milliseconds since that boot, those included in which it was suspended. */
  upMs: z.int().nonnegative(),
})
export type ClockReading = z.infer<typeof ClockReading>

/** 32 bytes. FORMAT.md, "Condemned list". */
export function clockReadingBytes({ wallMs, bootId, upMs }: ClockReading): Buffer {
  const bytes = Buffer.alloc(8 + UUID_BYTES + 8)
  bytes.writeBigUInt64LE(BigInt(wallMs), 0)
  bytes.set(uuidToBytes(bootId), 8)
  bytes.writeBigUInt64LE(BigInt(upMs), 8 + UUID_BYTES)
  return bytes
}

export function readClockReading(reader: ByteReader): ClockReading {
  return { wallMs: reader.u64(), bootId: uuidFromBytes(reader.bytes(UUID_BYTES)), upMs: reader.u64() }
}
