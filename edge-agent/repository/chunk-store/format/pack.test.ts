import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { PackBuilder, type ClosedPack } from './pack-builder.ts'
import { checkPack } from './pack-check.ts'
import { DIRECTORY_ENTRY_BYTES, FOOTER_BYTES, type PackName } from './pack-footer.ts'
import { openPackDirectory, packCipherOf, type PackTail, readPackTail } from './pack-reader.ts'
import { chunkKinds } from './registered-ids.ts'
import {
  chunkContent,
  CHUNK_SIZE_BYTES,
  fixedKeys,
  newTestPack,
  OTHER_ID,
  PACK_NAME,
  withFlippedBit,
} from './test-repository.ts'

interface TestChunk {
  readonly seed: number
  readonly lengthBytes: number
  readonly isText: boolean
  readonly kind: 0 | 1
}

const anyChunk = fc.record<TestChunk>({
  seed: fc.nat(1000),
  lengthBytes: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: CHUNK_SIZE_BYTES })),
  isText: fc.boolean(),
  kind: fc.constantFrom(chunkKinds.data, chunkKinds.chunkIdPage),
})
const keys = fixedKeys(1)

function contentOf(chunk: TestChunk): Uint8Array {
  return chunkContent(chunk.seed, chunk.lengthBytes, chunk.isText)
}

function idOf(content: Uint8Array): Uint8Array {
  return createHash('sha256').update(content).digest()
}

function build(chunks: readonly TestChunk[], changes: Parameters<typeof newTestPack>[0] = {}): ClosedPack {
  const builder = newTestPack({ packSizeBytes: 1024 * 1024, ...changes })
  for (const chunk of chunks) {
    const content = contentOf(chunk)
    const cut = Math.floor(content.length / 3)
    builder.append({ id: idOf(content), kind: chunk.kind }, [content.subarray(0, cut), content.subarray(cut)])
  }
  return builder.close()
}

async function tailOf(bytes: Uint8Array, name: PackName = PACK_NAME): Promise<PackTail> {
  return await readPackTail(
    async (offsetBytes, into) => into.set(bytes.subarray(offsetBytes, offsetBytes + into.length)),
    bytes.length,
    name,
  )
}

/** Everything a reader does. */
async function readAll(bytes: Uint8Array, name: PackName = PACK_NAME, readKeys = keys): Promise<Uint8Array[]> {
  const tail = await tailOf(bytes, name)
  const directory = openPackDirectory(tail, readKeys)
  const cipher = packCipherOf(tail.footer, readKeys)
  return Array.from({ length: directory.count }, (_, ordinal) => {
    const place = directory.placeAt(ordinal)
    const record = bytes.subarray(place.offsetBytes, place.offsetBytes + place.storedBytes)
    const into = new Uint8Array(place.plainBytes)
    cipher.openChunk({ ordinal, id: directory.idAt(ordinal), ...place }, record, into)
    return into
  })
}

function* inPieces(bytes: Uint8Array, lengths: readonly number[]): Generator<Uint8Array> {
  let at = 0
  for (let turn = 0; at < bytes.length; turn += 1) {
    const length = lengths[turn % lengths.length] ?? 1
    yield bytes.subarray(at, at + length)
    at += length
  }
}

const corrupt = { code: 'repository.pack_corrupt' }
const damaged = {
  code: expect.stringMatching(/^repository\.(pack_corrupt|chunk_corrupt|format_unsupported|key_missing)$/) as string,
}

describe('a pack', () => {
  test('gives back every chunk that was put in, in order, whatever they are', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyChunk, { minLength: 1, maxLength: 12 }), async (chunks) => {
        const { bytes, footer, directory, sha256 } = build(chunks)
        expect(await readAll(bytes)).toEqual(chunks.map((chunk) => Uint8Array.from(contentOf(chunk))))
        const read = openPackDirectory(await tailOf(bytes), keys)
        expect(read.bytes).toEqual(Buffer.from(directory.bytes))
        expect(chunks.map((_, ordinal) => read.placeAt(ordinal).kind)).toEqual(chunks.map(({ kind }) => kind))
        expect(await checkPack([bytes], PACK_NAME)).toEqual(footer)
        expect(createHash('sha256').update(bytes).digest('hex')).toBe(sha256)
      }),
      { numRuns: 40 },
    )
  })

  test('with one bit turned is refused by the check without keys, and never read wrong', async () => {
    const chunks = [
      { seed: 1, lengthBytes: 90, isText: false, kind: 0 },
      { seed: 2, lengthBytes: 900, isText: true, kind: 1 },
    ] as const
    const { bytes } = build(chunks)
    const contents = chunks.map((chunk) => Uint8Array.from(contentOf(chunk)))
    const hashAt = (bytes.length - 32) * 8
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const check = checkPack([withFlippedBit(bytes, bit)], PACK_NAME)
      await expect(check).rejects.toMatchObject(damaged)
    }
    for (let bit = 0; bit < hashAt; bit += 1) {
      await expect(readAll(withFlippedBit(bytes, bit))).rejects.toMatchObject(damaged)
    }
    expect(await readAll(withFlippedBit(bytes, hashAt))).toEqual(contents)
  })

  test('that is shorter or longer than it was closed is refused', async () => {
    const { bytes } = build([{ seed: 3, lengthBytes: 500, isText: true, kind: 0 }])
    for (let length = 0; length < bytes.length; length += 1) {
      await expect(checkPack([bytes.subarray(0, length)], PACK_NAME)).rejects.toMatchObject(corrupt)
      await expect(readAll(bytes.subarray(0, length))).rejects.toMatchObject(corrupt)
    }
    for (const more of [1, 16, 48, 128]) {
      for (const longer of [
        Buffer.concat([bytes, Buffer.alloc(more)]),
        Buffer.concat([Buffer.alloc(more), bytes]),
        Buffer.concat([bytes, bytes.subarray(-more)]),
      ]) {
        await expect(checkPack([longer], PACK_NAME)).rejects.toMatchObject(corrupt)
        await expect(readAll(longer)).rejects.toMatchObject(corrupt)
      }
    }
  })

  test('with two records of one length exchanged is refused', async () => {
    const chunk = { lengthBytes: 100, isText: false, kind: 0 } as const
    const { bytes, directory } = build([
      { seed: 1, ...chunk },
      { seed: 2, ...chunk },
    ])
    const { offsetBytes, storedBytes } = directory.placeAt(1)
    const swapped = Uint8Array.from(bytes)
    swapped.set(bytes.subarray(0, storedBytes), offsetBytes)
    swapped.set(bytes.subarray(offsetBytes, offsetBytes + storedBytes), 0)
    await expect(checkPack([swapped], PACK_NAME)).rejects.toMatchObject(corrupt)
    await expect(readAll(swapped)).rejects.toMatchObject({ code: 'repository.chunk_corrupt' })
  })

  test('opens only as what it is: not for another repository, name, generation or key', async () => {
    const { bytes } = build([{ seed: 4, lengthBytes: 100, isText: true, kind: 0 }])
    const otherPackId = 'ff112233445566778899aabbccddeeff01234567'
    for (const change of [{ repositoryId: OTHER_ID }, { packId: otherPackId }, { generation: 4 }]) {
      await expect(readAll(bytes, { ...PACK_NAME, ...change })).rejects.toMatchObject(corrupt)
      await expect(checkPack([bytes], { ...PACK_NAME, ...change })).rejects.toMatchObject(corrupt)
    }
    await expect(readAll(bytes, PACK_NAME, fixedKeys(2))).rejects.toMatchObject(corrupt)
    const later = build([{ seed: 4, lengthBytes: 100, isText: true, kind: 0 }], { epoch: 9 })
    await expect(readAll(later.bytes)).rejects.toMatchObject({ code: 'repository.key_missing' })
  })

  test("does not give another pack's record for its own, though id and ordinal are the same", async () => {
    const chunk = { seed: 5, lengthBytes: 100, isText: false, kind: 0 } as const
    const first = build([chunk])
    const second = build([chunk], { packId: 'ff112233445566778899aabbccddeeff01234567' })
    const mixed = Uint8Array.from(first.bytes)
    mixed.set(second.bytes.subarray(0, 116))
    await expect(readAll(mixed)).rejects.toMatchObject({ code: 'repository.chunk_corrupt' })
  })

  test('is checked alike in pieces of any length', async () => {
    const { bytes, footer } = build([{ seed: 6, lengthBytes: 2000, isText: false, kind: 0 }])
    const broken = withFlippedBit(bytes, 4711)
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 5 }), async (lengths) => {
        expect(await checkPack(inPieces(bytes, lengths), PACK_NAME)).toEqual(footer)
        await expect(checkPack(inPieces(broken, lengths), PACK_NAME)).rejects.toMatchObject(corrupt)
      }),
      { numRuns: 50 },
    )
  })

  test('is full at its size, or at 8192 chunks; its directory is then read by two requests', async () => {
    const bySize = newTestPack({ packSizeBytes: 1000 })
    const content = contentOf({ seed: 1, lengthBytes: 600, isText: false, kind: 0 })
    bySize.append({ id: idOf(content), kind: 0 }, [content])
    expect(bySize.isFull).toBe(false)
    bySize.append({ id: idOf(content), kind: 0 }, [content])
    expect(bySize.isFull).toBe(true)
    const byCount = newTestPack({ packSizeBytes: 1024 * 1024 })
    while (!byCount.isFull) byCount.append({ id: Buffer.alloc(32, byCount.chunkCount), kind: 0 }, [Uint8Array.of(1, 2)])
    expect(byCount.chunkCount).toBe(8192)
    const { bytes } = byCount.close()
    const reads: number[] = []
    const tail = await readPackTail(
      async (offsetBytes, into) => {
        reads.push(into.length)
        into.set(bytes.subarray(offsetBytes, offsetBytes + into.length))
      },
      bytes.length,
      PACK_NAME,
    )
    expect(openPackDirectory(tail, keys).count).toBe(8192)
    const directoryBytes = 8192 * DIRECTORY_ENTRY_BYTES + 16 + FOOTER_BYTES
    expect(reads).toEqual([64 * 1024, directoryBytes - 64 * 1024])
  })

  test('lies in the buffer that was given, and stores noise as it is', () => {
    const buffer = new Uint8Array(new SharedArrayBuffer(2 * 1024 * 1024))
    const { bytes, directory } = build([{ seed: 1, lengthBytes: 5000, isText: false, kind: 0 }], { buffer })
    expect(bytes.buffer).toBe(buffer.buffer)
    expect(directory.placeAt(0)).toEqual({
      offsetBytes: 0,
      storedBytes: 5016,
      plainBytes: 5000,
      compression: 0,
      kind: 0,
    })
  })

  test('takes nothing more when it is full or closed', () => {
    const builder: PackBuilder = newTestPack({ packSizeBytes: 10 })
    const chunk = { id: new Uint8Array(32), kind: chunkKinds.data }
    builder.append(chunk, [new Uint8Array(100)])
    expect(() => builder.append(chunk, [new Uint8Array(100)])).toThrow(/not full/)
    builder.close()
    expect(() => builder.close()).toThrow(/once/)
  })
})
