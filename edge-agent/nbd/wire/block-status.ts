import type { Extent } from '@sendense/shared/domain/extent.ts'
import type { BlockExtent } from '../../block/block-source.ts'
import { NBD_STATE_ZERO, QEMU_STATE_DIRTY } from './nbd-constants.ts'
import { protocolViolation } from './nbd-errors.ts'
import { readU64 } from './u64.ts'

const DESCRIPTOR_BYTES = 8
const EXTENDED_DESCRIPTOR_BYTES = 16
/** A payload longer than this is refused: two million descriptors, or one million extended ones. */
export const BLOCK_STATUS_BYTES_MAX = 8 + 2 ** 20 * EXTENDED_DESCRIPTOR_BYTES

/** A run of one context: `flags` hold for `lengthBytes` from where the run before it ended. */
export interface StatusRun {
  readonly lengthBytes: number
  readonly flags: number
}

export interface ContextStatus {
  readonly contextId: number
  readonly runs: readonly StatusRun[]
}

/**
 * Decodes one NBD_REPLY_TYPE_BLOCK_STATUS payload: context id (u32), then descriptors of length (u32, bytes) and
 * flags (u32). The runs may end before or, the last one, beyond the requested range; callers clamp.
 * @throws PlatformError `nbd.protocol_violation` unless it is one or more whole descriptors of at least a byte
 */
export function decodeBlockStatus(payload: Buffer): ContextStatus {
  const bytes = payload.length - 4
  if (bytes < DESCRIPTOR_BYTES || bytes % DESCRIPTOR_BYTES !== 0) {
    throw protocolViolation(`block status of ${payload.length} bytes`)
  }
  const runs: StatusRun[] = []
  for (let at = 4; at < payload.length; at += DESCRIPTOR_BYTES) {
    const lengthBytes = payload.readUInt32BE(at)
    if (lengthBytes === 0) throw protocolViolation('a block status descriptor of no bytes')
    runs.push({ lengthBytes, flags: payload.readUInt32BE(at + 4) })
  }
  return { contextId: payload.readUInt32BE(0), runs }
}

/**
 * Decodes one NBD_REPLY_TYPE_BLOCK_STATUS_EXT payload: context id (u32), count (u32), then so many descriptors of length
 * (u64, bytes) and flags (u64). Else as `decodeBlockStatus`.
 * @throws PlatformError `nbd.protocol_violation` also when the count is another or a flag beyond bit 31 is set, which no
 *   context has that we ask for
 */
export function decodeExtendedBlockStatus(payload: Buffer): ContextStatus {
  const bytes = payload.length - 8
  if (bytes < EXTENDED_DESCRIPTOR_BYTES || bytes % EXTENDED_DESCRIPTOR_BYTES !== 0) {
    throw protocolViolation(`extended block status of ${payload.length} bytes`)
  }
  const count = payload.readUInt32BE(4)
  if (count * EXTENDED_DESCRIPTOR_BYTES !== bytes) {
    throw protocolViolation(`extended block status of ${bytes} bytes for ${count} descriptors`)
  }
  const runs: StatusRun[] = []
  for (let at = 8; at < payload.length; at += EXTENDED_DESCRIPTOR_BYTES) {
    const lengthBytes = readU64(payload, at)
    if (lengthBytes === 0) throw protocolViolation('a block status descriptor of no bytes')
    if (payload.readUInt32BE(at + 8) !== 0) throw protocolViolation('a block status flag beyond bit 31')
    runs.push({ lengthBytes, flags: payload.readUInt32BE(at + 12) })
  }
  return { contextId: payload.readUInt32BE(0), runs }
}

/**
 * Both contexts' runs as extents, from the range's start up to where the shorter context ends.
 *
 * A block counts as zero only if NBD_STATE_ZERO is set: NBD_STATE_HOLE alone does not promise zeros (NBD proto.md,
 * "base:allocation").
 * @param allocation absent: nothing is known to be zero
 * @param dirty absent: everything is dirty
 */
export function mergeContexts(
  range: Extent,
  allocation: readonly StatusRun[] | undefined,
  dirty: readonly StatusRun[] | undefined,
): BlockExtent[] {
  const everything: readonly StatusRun[] = [{ lengthBytes: range.lengthBytes, flags: 0 }]
  const zeroRuns = new RunReader(allocation ?? everything)
  const dirtyRuns = new RunReader(dirty ?? [{ lengthBytes: range.lengthBytes, flags: QEMU_STATE_DIRTY }])
  const extents: BlockExtent[] = []
  let offsetBytes = range.offsetBytes
  let leftBytes = range.lengthBytes
  while (leftBytes > 0 && zeroRuns.leftBytes > 0 && dirtyRuns.leftBytes > 0) {
    const lengthBytes = Math.min(leftBytes, zeroRuns.leftBytes, dirtyRuns.leftBytes)
    const zero = (zeroRuns.flags & NBD_STATE_ZERO) !== 0
    const isDirty = (dirtyRuns.flags & QEMU_STATE_DIRTY) !== 0
    const last = extents.at(-1)
    if (last !== undefined && last.zero === zero && last.dirty === isDirty) {
      extents[extents.length - 1] = { ...last, lengthBytes: last.lengthBytes + lengthBytes }
    } else {
      extents.push({ offsetBytes, lengthBytes, zero, dirty: isDirty })
    }
    zeroRuns.advance(lengthBytes)
    dirtyRuns.advance(lengthBytes)
    offsetBytes += lengthBytes
    leftBytes -= lengthBytes
  }
  return extents
}

/** Walks over runs byte by byte count; `leftBytes` is what remains of the present one, 0 at the end. */
class RunReader {
  readonly #runs: readonly StatusRun[]
  #index = 0
  #usedBytes = 0

  constructor(runs: readonly StatusRun[]) {
    this.#runs = runs
  }

  get leftBytes(): number {
    return (this.#runs[this.#index]?.lengthBytes ?? 0) - this.#usedBytes
  }

  get flags(): number {
    return this.#runs[this.#index]?.flags ?? 0
  }

  advance(lengthBytes: number): void {
    this.#usedBytes += lengthBytes
    if (this.leftBytes > 0) return
    this.#index += 1
    this.#usedBytes = 0
  }
}
