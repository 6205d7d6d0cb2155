import { z } from 'zod'

/** Name of a disk within its VM, stable over backups: `disk0`, `vda`. It becomes part of paths. */
export const DiskId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/)
/** Name of a VM as people see it. Restored VMs get it as their directory too. */
export const VmName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/, 'letters, digits, dot, dash and underscore; at most 63')
/** SHA-256 or BLAKE3-256 as lower-case hexadecimal. */
export const Hash256 = z.string().regex(/^[0-9a-f]{64}$/)
/** Bytes as a safe, non-negative integer. */
export const ByteCount = z.int().nonnegative()
/**
 * UTC instant, ISO 8601 with milliseconds, from 1970 on: clocks that were never set say that year, none says one before
 * it, and no database has the year 0000.
 */
export const Instant = z.iso.datetime().refine((text) => text >= '1970', 'an instant from 1970 on')
