import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { NbdEndpoint } from '../../block/block-endpoint.ts'
import { expectOnDisk } from '../../block/block-range.ts'
import type { BlockSink } from '../../block/block-sink.ts'
import type { CallOptions } from '../../block/block-source.ts'
import {
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLUSH,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE_ZEROES,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
} from '../wire/nbd-constants.ts'
import { toSinkError } from '../wire/nbd-errors.ts'
import { type BlockPiece, cutAtBlocks, cutQuickly, cutRange } from './nbd-ranges.ts'
import type { NbdRequester } from './nbd-requester.ts'
import { writeRange } from './nbd-transfer.ts'
import { type NbdOpenOptions, openConnectionGroup } from './open-connection-group.ts'
import { openersMaxOf } from './openers-max.ts'
import { PartWriter } from './part-writer.ts'
import { WriteLedger } from './write-ledger.ts'

/** Zeros are written as data in pieces of this size where the server knows no better way. */
const ZERO_PIECE = new Uint8Array(1024 * 1024)
/** A longer range is worth the question whether the server can zero it at once. */
const QUICK_ZERO_BYTES_MIN = 128 * 1024 * 1024

export interface NbdWriteOptions extends CallOptions {
  /** What is written is durable when it settles, without a flush. */
  readonly fua?: boolean
}

export interface NbdZeroOptions extends NbdWriteOptions {
  /** The range keeps its place on the storage: later writes to it do not fail for want of space. */
  readonly noHole?: boolean
}

/** A disk written through an NBD export. Failed writes are `target.no_space` or `target.write_failed`. */
export interface NbdSink extends BlockSink {
  readonly endpoint: NbdEndpoint
  write(offsetBytes: number, bytes: Uint8Array, options: NbdWriteOptions): Promise<void>
  writeZeroes(offsetBytes: number, lengthBytes: number, options: NbdZeroOptions): Promise<void>
  /**
   * Makes the range read as zeros where that is quicker than writing them. Resolves with false where it is not, or where
   * the server cannot tell; then the range reads as before, or as zeros in part.
   */
  zeroFast(offsetBytes: number, lengthBytes: number, options: NbdZeroOptions): Promise<boolean>
  /** Tells the disk that the range is not needed: it reads as anything afterwards. Does nothing where the server cannot. */
  trim(offsetBytes: number, lengthBytes: number, options: NbdWriteOptions): Promise<void>
}

/**
 * Connects to the export. A connection that is lost later is replaced as the endpoint's `reconnect` says. That is all
 * where nothing can be lost with it; else everything from then on rejects with `nbd.writes_uncertain`, as soon as the
 * server answers again: what was written after the last flush may be gone, and the sink must be opened anew.
 * Rejects with `nbd.read_only`, other `nbd.*`, or the signal's reason.
 */
export async function openNbdSink(endpoint: NbdEndpoint, options: NbdOpenOptions): Promise<NbdSink> {
  const connection = await openConnectionGroup(endpoint, options, new WriteLedger())
  if (has(connection, NBD_FLAG_READ_ONLY)) {
    await connection[Symbol.asyncDispose]()
    throw new PlatformError('nbd.read_only', `NBD export "${endpoint.exportName}" cannot be written`)
  }
  return new ConnectedSink(connection, endpoint)
}

function has(connection: NbdRequester, flag: number): boolean {
  return (connection.session.flags & flag) !== 0
}

type RangeCommand = typeof NBD_CMD_WRITE_ZEROES | typeof NBD_CMD_TRIM

class ConnectedSink implements NbdSink {
  readonly sizeBytes: number
  readonly endpoint: NbdEndpoint
  readonly openersMax: number
  readonly cannotFlush: boolean
  readonly #connection: NbdRequester
  readonly #partWriter: PartWriter

  constructor(connection: NbdRequester, endpoint: NbdEndpoint) {
    this.sizeBytes = connection.session.sizeBytes
    this.endpoint = endpoint
    this.openersMax = openersMaxOf(endpoint, connection.session)
    this.cannotFlush = !has(connection, NBD_FLAG_SEND_FLUSH)
    this.#connection = connection
    this.#partWriter = new PartWriter(connection)
  }

  async write(offsetBytes: number, bytes: Uint8Array, options: NbdWriteOptions): Promise<void> {
    const call = { signal: options.signal, commandFlags: this.#fuaFlag(options) }
    for (const piece of this.#cut({ offsetBytes, lengthBytes: bytes.length }, options)) {
      const start = piece.offsetBytes - offsetBytes
      const part = piece.lengthBytes === bytes.length ? bytes : bytes.subarray(start, start + piece.lengthBytes)
      try {
        if (piece.wholeBlocks) await writeRange(this.#connection, piece.offsetBytes, part, call)
        else await this.#partWriter.write(piece.offsetBytes, part, call)
      } catch (error) {
        throw toSinkError(error)
      }
    }
    if (options.fua === true) await this.#makeDurable(options)
  }

  async writeZeroes(offsetBytes: number, lengthBytes: number, options: NbdZeroOptions): Promise<void> {
    const call = { signal: options.signal, commandFlags: this.#zeroFlags(options) }
    for (const piece of this.#cut({ offsetBytes, lengthBytes }, options)) {
      await asSink(async () => {
        if (!piece.wholeBlocks) {
          await this.#partWriter.write(piece.offsetBytes, new Uint8Array(piece.lengthBytes), {
            ...call,
            commandFlags: this.#fuaFlag(options),
          })
        } else if (has(this.#connection, NBD_FLAG_SEND_WRITE_ZEROES)) {
          const isDone = piece.lengthBytes > QUICK_ZERO_BYTES_MIN && (await this.#zeroQuickly(piece, call))
          if (!isDone) await this.#sendRanges(NBD_CMD_WRITE_ZEROES, cutRange(piece), call)
        } else {
          await this.#writeZeroData(piece, { ...call, commandFlags: this.#fuaFlag(options) })
        }
      })
    }
    await this.#makeDurable(options)
  }

  async zeroFast(offsetBytes: number, lengthBytes: number, options: NbdZeroOptions): Promise<boolean> {
    const call = { signal: options.signal, commandFlags: this.#zeroFlags(options) }
    const pieces = this.#cut({ offsetBytes, lengthBytes }, options)
    if (!has(this.#connection, NBD_FLAG_SEND_WRITE_ZEROES) || pieces.some((piece) => !piece.wholeBlocks)) return false
    for (const piece of pieces) {
      if (!(await asSink(async () => await this.#zeroQuickly(piece, call)))) return false
    }
    await this.#makeDurable(options)
    return true
  }

  async trim(offsetBytes: number, lengthBytes: number, options: NbdWriteOptions): Promise<void> {
    const pieces = this.#cut({ offsetBytes, lengthBytes }, options)
    if (!has(this.#connection, NBD_FLAG_SEND_TRIM)) return
    const call = { signal: options.signal, commandFlags: this.#fuaFlag(options) }
    for (const piece of pieces) {
      if (!piece.wholeBlocks) continue
      await asSink(async () => await this.#sendRanges(NBD_CMD_TRIM, cutRange(piece), call))
    }
    await this.#makeDurable(options)
  }

  async flush({ signal }: CallOptions): Promise<void> {
    signal.throwIfAborted()
    if (!has(this.#connection, NBD_FLAG_SEND_FLUSH)) return
    const request = { command: NBD_CMD_FLUSH, offsetBytes: 0, lengthBytes: 0, signal } as const
    await asSink(async () => await this.#connection.request(request))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]()
  }

  #cut(range: Extent, { signal }: CallOptions): BlockPiece[] {
    signal.throwIfAborted()
    expectOnDisk(this.sizeBytes, range.offsetBytes, range.lengthBytes)
    return cutAtBlocks(this.#connection.session, range)
  }

  #fuaFlag({ fua = false }: NbdWriteOptions): number {
    return fua && has(this.#connection, NBD_FLAG_SEND_FUA) ? NBD_CMD_FLAG_FUA : 0
  }

  #zeroFlags(options: NbdZeroOptions): number {
    return this.#fuaFlag(options) | (options.noHole === true ? NBD_CMD_FLAG_NO_HOLE : 0)
  }

  /** A server that does not know NBD_CMD_FLAG_FUA is asked to flush instead. */
  async #makeDurable({ fua = false, signal }: NbdWriteOptions): Promise<void> {
    if (fua && !has(this.#connection, NBD_FLAG_SEND_FUA)) await this.flush({ signal })
  }

  /** Whether the server zeroed the range at once. Where it does not, it says so without doing anything. */
  async #zeroQuickly(range: Extent, call: CallOptions & { readonly commandFlags: number }): Promise<boolean> {
    if (!has(this.#connection, NBD_FLAG_SEND_FAST_ZERO)) return false
    const commandFlags = call.commandFlags | NBD_CMD_FLAG_FAST_ZERO
    try {
      const pieces = cutQuickly(this.#connection.session, range)
      await this.#sendRanges(NBD_CMD_WRITE_ZEROES, pieces, { ...call, commandFlags })
      return true
    } catch (error) {
      if (isPlatformError(error, 'nbd.unsupported')) return false
      throw error
    }
  }

  async #sendRanges(
    command: RangeCommand,
    pieces: readonly Extent[],
    call: CallOptions & { readonly commandFlags: number },
  ): Promise<void> {
    for (const piece of pieces) await this.#connection.request({ command, ...piece, ...call })
  }

  async #writeZeroData(range: Extent, call: CallOptions & { readonly commandFlags: number }): Promise<void> {
    for (let at = range.offsetBytes; at < endOf(range); at += ZERO_PIECE.length) {
      const piece = ZERO_PIECE.subarray(0, Math.min(ZERO_PIECE.length, endOf(range) - at))
      await writeRange(this.#connection, at, piece, call)
    }
  }
}

async function asSink<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw toSinkError(error)
  }
}
