import { type FileHandle, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { seededBytes } from '../seeded-image.ts'

const MIB = 1024 ** 2
/** Where a file system would begin a file. */
const BLOCK_BYTES = 4096
const READ_BYTES = 4 * MIB
/** Bytes that do not compress come in pieces of this size, one after each stretch of files. */
const RANDOM_PIECE_BYTES = 4 * MIB
/** What an operating system is made of. */
const SYSTEM_DIRS = ['/usr/lib', '/usr/bin', '/usr/sbin', '/usr/share', '/usr/include']
/** Larger files would make the image one program. */
const FILE_MAX_BYTES = 64 * MIB

export interface MixedImage {
  readonly sizeBytes: number
  /** In all; what is not data is holes, spread over the image. */
  readonly dataBytes: number
  /** Of the data, bytes that do not compress; the rest are files of the operating system this runs on. */
  readonly randomShare: number
  readonly seed: number
}

/**
 * Writes a sparse raw image as a machine's disk looks: files of an operating system, each from a block on, bytes that do
 * not compress, holes. The same on the same machine for the same seed.
 * @returns the ranges that hold data, 1 MiB aligned, in disk order
 */
export async function writeMixedImage(path: string, image: MixedImage): Promise<readonly number[]> {
  await using file = await open(path, 'w')
  await file.truncate(image.sizeBytes)
  const random = seededBytes(image.seed)
  await using files = new SystemBytes()
  const pieces = Math.floor(image.dataBytes / RANDOM_PIECE_BYTES)
  const slots = Math.floor(image.sizeBytes / RANDOM_PIECE_BYTES)
  const dataOffsets: number[] = []
  for (let piece = 0; piece < pieces; piece += 1) {
    const at = Math.floor((piece * slots) / pieces) * RANDOM_PIECE_BYTES
    const isRandom = Math.floor(piece * image.randomShare) !== Math.floor((piece + 1) * image.randomShare)
    const bytes = isRandom ? random(RANDOM_PIECE_BYTES) : await files.next(RANDOM_PIECE_BYTES)
    await file.write(bytes, 0, bytes.length, at)
    for (let inside = 0; inside < RANDOM_PIECE_BYTES; inside += MIB) dataOffsets.push(at + inside)
  }
  return dataOffsets
}

/** The files of this machine's operating system one after the other, each beginning at a block; never empty. */
class SystemBytes implements AsyncDisposable {
  readonly #paths = pathsBelow(SYSTEM_DIRS)
  #current: FileHandle | undefined
  #offset = 0

  async next(lengthBytes: number): Promise<Buffer> {
    const into = Buffer.alloc(lengthBytes)
    let filled = 0
    while (filled < lengthBytes) {
      this.#current ??= await this.#openNext()
      const room = Math.min(READ_BYTES, lengthBytes - filled)
      const { bytesRead } = await this.#current.read(into, filled, room, this.#offset)
      this.#offset += bytesRead
      filled += bytesRead
      if (bytesRead > 0) continue
      await this.#current.close()
      this.#current = undefined
      filled = Math.min(lengthBytes, Math.ceil(filled / BLOCK_BYTES) * BLOCK_BYTES)
    }
    return into
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#current?.close()
  }

  async #openNext(): Promise<FileHandle> {
    for (;;) {
      const next = await this.#paths.next()
      if (next.done === true) throw new Error(`${SYSTEM_DIRS.join(', ')} hold less than the image wants`)
      const file = await open(next.value, 'r')
      const { size } = await file.stat()
      this.#offset = 0
      if (size > 0 && size <= FILE_MAX_BYTES) return file
      await file.close()
    }
  }
}

async function* pathsBelow(dirs: readonly string[]): AsyncGenerator<string, undefined> {
  for (const dir of dirs) {
    const entries = await readdir(dir, { withFileTypes: true }).catch(() => [])
    const sorted = entries.toSorted((left, right) => (left.name < right.name ? -1 : 1))
    for (const entry of sorted) {
      const path = join(dir, entry.name)
      if (entry.isFile()) yield path
      else if (entry.isDirectory()) yield* pathsBelow([path])
    }
  }
}
