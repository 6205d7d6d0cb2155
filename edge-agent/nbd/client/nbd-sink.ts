import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { NbdEndpoint } from '../../block/block-endpoint.ts'
import { expectOnDisk } from '../../block/block-range.ts'
import type { BlockSink } from '../../block/block-sink.ts'
import type { CallOptions } from '../../block/block-source.ts'
import {
  NBD_CMD_FLUSH,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE_ZEROES,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
} from '../wire/nbd-constants.ts'
import { toSinkError } from '../wire/nbd-errors.ts'
import { type NbdConnection, type NbdConnectOptions, openNbdConnection } from './nbd-connection.ts'
import { type BlockPiece, cutAtBlocks, cutRange } from './nbd-ranges.ts'
import { writeRange } from './nbd-transfer.ts'
import { PartWriter } from './part-writer.ts'

/** Zeros are written as data in pieces of this size where the server knows no better way. */
const ZERO_PIECE = new Uint8Array(1024 * 1024)

/** A disk written through an NBD export. Failed writes are `target.no_space` or `target.write_failed`. */
export interface NbdSink extends BlockSink {
  readonly endpoint: NbdEndpoint
  /** Tells the disk that the range is not needed: it reads as anything afterwards. Does nothing where the server cannot. */
  trim(offsetBytes: number, lengthBytes: number, options: CallOptions): Promise<void>
}

/**
 * Connects to the export. Rejects with `nbd.read_only`, other `nbd.*`, or the signal's reason.
 */
export async function openNbdSink(endpoint: NbdEndpoint, options: NbdConnectOptions): Promise<NbdSink> {
  const connection = await openNbdConnection(endpoint, options)
  if (has(connection, NBD_FLAG_READ_ONLY)) {
    await connection[Symbol.asyncDispose]()
    throw new PlatformError('nbd.read_only', `NBD export "${endpoint.exportName}" cannot be written`)
  }
  return new ConnectedSink(connection, endpoint)
}

function has(connection: NbdConnection, flag: number): boolean {
  return (connection.session.flags & flag) !== 0
}

class ConnectedSink implements NbdSink {
  readonly sizeBytes: number
  readonly endpoint: NbdEndpoint
  readonly #connection: NbdConnection
  readonly #partWriter: PartWriter

  constructor(connection: NbdConnection, endpoint: NbdEndpoint) {
    this.sizeBytes = connection.session.sizeBytes
    this.endpoint = endpoint
    this.#connection = connection
    this.#partWriter = new PartWriter(connection)
  }

  async write(offsetBytes: number, bytes: Uint8Array, { signal }: CallOptions): Promise<void> {
    for (const piece of this.#cut({ offsetBytes, lengthBytes: bytes.length }, signal)) {
      const start = piece.offsetBytes - offsetBytes
      const part = bytes.subarray(start, start + piece.lengthBytes)
      await asSink(async () => {
        if (piece.wholeBlocks) await writeRange(this.#connection, piece.offsetBytes, part, { signal })
        else await this.#partWriter.write(piece.offsetBytes, part, { signal })
      })
    }
  }

  async writeZeroes(offsetBytes: number, lengthBytes: number, { signal }: CallOptions): Promise<void> {
    for (const piece of this.#cut({ offsetBytes, lengthBytes }, signal)) {
      await asSink(async () => {
        if (!piece.wholeBlocks) {
          await this.#partWriter.write(piece.offsetBytes, new Uint8Array(piece.lengthBytes), { signal })
        } else if (has(this.#connection, NBD_FLAG_SEND_WRITE_ZEROES)) {
          await this.#sendRange(NBD_CMD_WRITE_ZEROES, piece, { signal })
        } else {
          await this.#writeZeroData(piece, { signal })
        }
      })
    }
  }

  async trim(offsetBytes: number, lengthBytes: number, { signal }: CallOptions): Promise<void> {
    const pieces = this.#cut({ offsetBytes, lengthBytes }, signal)
    if (!has(this.#connection, NBD_FLAG_SEND_TRIM)) return
    for (const piece of pieces) {
      if (piece.wholeBlocks) await asSink(async () => await this.#sendRange(NBD_CMD_TRIM, piece, { signal }))
    }
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

  #cut(range: Extent, signal: AbortSignal): BlockPiece[] {
    signal.throwIfAborted()
    expectOnDisk(this.sizeBytes, range.offsetBytes, range.lengthBytes)
    return cutAtBlocks(this.#connection.session, range)
  }

  async #sendRange(
    command: typeof NBD_CMD_WRITE_ZEROES | typeof NBD_CMD_TRIM,
    range: Extent,
    { signal }: CallOptions,
  ): Promise<void> {
    for (const piece of cutRange(range)) await this.#connection.request({ command, ...piece, signal })
  }

  async #writeZeroData(range: Extent, options: CallOptions): Promise<void> {
    for (let at = range.offsetBytes; at < endOf(range); at += ZERO_PIECE.length) {
      const piece = ZERO_PIECE.subarray(0, Math.min(ZERO_PIECE.length, endOf(range) - at))
      await writeRange(this.#connection, at, piece, options)
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
