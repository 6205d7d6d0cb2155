import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { BlockSink } from '../../block/block-sink.ts'
import type { BlockSource, CallOptions } from '../../block/block-source.ts'
import type { BlockSizes } from '../wire/handshake-options.ts'
import {
  BASE_ALLOCATION,
  NBD_FLAG_BLOCK_STATUS_PAYLOAD,
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_DF,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
  NBD_STRING_BYTES_MAX,
} from '../wire/nbd-constants.ts'
import type { ReplyStyle } from '../wire/reply-header.ts'
import { cachedExtents, type ExtentLookup, liveExtents } from './extent-lookup.ts'

/** The largest payload that every client may send (NBD proto.md, "Size constraints"). */
export const PAYLOAD_BYTES_MAX = 32 * 1024 * 1024
const DEFAULT_BLOCK_SIZES: BlockSizes = { minimumBytes: 1, preferredBytes: 4096, maximumBytes: PAYLOAD_BYTES_MAX }
const BITMAP_PREFIX = 'qemu:dirty-bitmap:'

/** A sink that may know more than a plain one. */
export interface ServedSink extends BlockSink {
  /** Drops what the range holds: it reads as anything afterwards. Absent: NBD_CMD_TRIM is not offered. */
  trim?(offsetBytes: number, lengthBytes: number, options: CallOptions): Promise<void>
  /**
   * Makes the range read as zeros where that is quicker than writing them. Resolves with false, at once and nothing
   * changed, where it is not. Absent: it never is.
   */
  zeroFast?(offsetBytes: number, lengthBytes: number, options: CallOptions): Promise<boolean>
}

/**
 * A disk under a name. Source and sink stay the caller's, to be disposed after the export was removed. What `sink`
 * acknowledged is read from `source` at once, and a flush of `sink` covers all that it acknowledged: that is why several
 * connections to one export are always allowed (NBD_FLAG_CAN_MULTI_CONN).
 */
export interface NbdExport {
  /** At most 4096 bytes of UTF-8 without NUL. */
  readonly name: string
  /** For people; likewise. */
  readonly description?: string
  readonly source: BlockSource
  /** Of the same size as the source. Absent: the export is read-only, and the source's content never changes. */
  readonly sink?: ServedSink
  /** Offers the source's dirty extents as `qemu:dirty-bitmap:NAME`. Absent: nothing of the kind is offered. */
  readonly dirtyBitmap?: string
  /** Default: 1, 4096 and 32 MiB. The size of the disk is a multiple of the minimum. */
  readonly blockSizes?: BlockSizes
}

/** Something that can be asked of ranges of an export: a meta context. */
export interface ExportContext {
  readonly id: number
  readonly name: string
  readonly kind: 'allocation' | 'dirty'
}

/** What client and server agreed on in the handshake. */
export interface NegotiatedExport {
  readonly served: ServedExport
  readonly style: ReplyStyle
  /** Those the client chose. */
  readonly contexts: readonly ExportContext[]
}

/** An export as the server works with it. */
export class ServedExport {
  readonly name: string
  readonly description: string
  readonly source: BlockSource
  readonly sink: ServedSink | undefined
  readonly blockSizes: BlockSizes
  readonly contexts: readonly ExportContext[]
  readonly extents: ExtentLookup
  /** Aborts when the export is gone and nobody may wait for it any more. */
  readonly ended = new AbortController()
  #isWithdrawn = false

  /** @throws PlatformError `input.invalid` where the export cannot be offered as it is */
  constructor(options: NbdExport) {
    expectOffer(options)
    this.name = options.name
    this.description = options.description ?? ''
    this.source = options.source
    this.sink = options.sink
    this.blockSizes = options.blockSizes ?? DEFAULT_BLOCK_SIZES
    const dirty = { id: 2, name: `${BITMAP_PREFIX}${options.dirtyBitmap}`, kind: 'dirty' } as const
    const allocation = { id: 1, name: BASE_ALLOCATION, kind: 'allocation' } as const
    this.contexts = options.dirtyBitmap === undefined ? [allocation] : [allocation, dirty]
    const { minimumBytes } = this.blockSizes
    this.extents =
      options.sink === undefined
        ? cachedExtents(this.source, { minimumBytes, signal: this.ended.signal })
        : liveExtents(this.source, { minimumBytes })
  }

  get sizeBytes(): number {
    return this.source.sizeBytes
  }

  /** Who still comes for it is refused everything. */
  get isWithdrawn(): boolean {
    return this.#isWithdrawn
  }

  withdraw(): void {
    this.#isWithdrawn = true
  }

  /** NBD_FLAG_* for a connection that answers in this style and may ask for contexts or not. */
  transmissionFlags(style: ReplyStyle, hasContexts: boolean): number {
    let flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_CAN_MULTI_CONN | NBD_FLAG_SEND_CACHE
    if (this.sink === undefined) flags |= NBD_FLAG_READ_ONLY
    else flags |= NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO
    if (this.sink?.trim !== undefined) flags |= NBD_FLAG_SEND_TRIM
    if (style !== 'simple') flags |= NBD_FLAG_SEND_DF
    if (style === 'extended' && hasContexts) flags |= NBD_FLAG_BLOCK_STATUS_PAYLOAD
    return flags
  }

  /**
   * The contexts that a query of NBD_OPT_LIST_META_CONTEXT means: one by its name, or all that begin with it where it
   * ends with a colon (NBD proto.md, "Metadata querying"; QEMU docs/interop/nbd.txt).
   */
  listContexts(query: string): ExportContext[] {
    return this.contexts.filter(({ name }) => name === query || (query.endsWith(':') && name.startsWith(query)))
  }
}

function expectOffer({ name, description = '', source, sink, dirtyBitmap, blockSizes }: NbdExport): void {
  const texts = { name, description, dirtyBitmap: BITMAP_PREFIX + (dirtyBitmap ?? '') }
  for (const [what, text] of Object.entries(texts)) {
    if (Buffer.byteLength(text) > NBD_STRING_BYTES_MAX) throw refused(name, `its ${what} is longer than 4096 bytes`)
    if (text.includes('\0')) throw refused(name, `its ${what} has a NUL in it`)
  }
  if (sink !== undefined && sink.sizeBytes !== source.sizeBytes) {
    throw refused(name, `it reads ${source.sizeBytes} bytes and writes ${sink.sizeBytes}`)
  }
  const { minimumBytes, preferredBytes, maximumBytes } = blockSizes ?? DEFAULT_BLOCK_SIZES
  const isOrdered = preferredBytes >= Math.max(512, minimumBytes) && maximumBytes >= preferredBytes
  const isAllowed = isPowerOfTwo(minimumBytes) && minimumBytes <= 65_536 && isPowerOfTwo(preferredBytes) && isOrdered
  if (!isAllowed || !Number.isInteger(maximumBytes) || maximumBytes > PAYLOAD_BYTES_MAX) {
    throw refused(name, `block sizes ${minimumBytes}, ${preferredBytes}, ${maximumBytes} are not allowed`)
  }
  if (source.sizeBytes % minimumBytes !== 0) throw refused(name, `its size is no multiple of ${minimumBytes} bytes`)
}

function isPowerOfTwo(value: number): boolean {
  return Number.isInteger(Math.log2(value))
}

function refused(name: string, why: string): PlatformError {
  return new PlatformError('input.invalid', `export "${name.slice(0, 200)}" cannot be offered: ${why}`)
}
