import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { describeBlockSource } from './block-source.conformance.ts'
import { openRawFileSource } from './raw-file-source.ts'

const SIZE_BYTES = 150_001
const signal = AbortSignal.timeout(60_000)

async function makeFile() {
  const dir = await mkdtemp(join(tmpdir(), 'raw-file-'))
  const path = join(dir, 'disk.raw')
  const content = Uint8Array.from({ length: SIZE_BYTES }, (_, at) => 1 + (at % 250))
  content.fill(0, 10_000, 70_000)
  content.fill(0, 100_000, 100_512)
  await writeFile(path, content)
  return { path, content, [Symbol.asyncDispose]: async () => await rm(dir, { recursive: true, force: true }) }
}

const findZeroRanges = async () => [
  { offsetBytes: 10_000, lengthBytes: 60_000 },
  { offsetBytes: 100_000, lengthBytes: 512 },
]

for (const [name, known] of Object.entries({ known: { findZeroRanges }, unknown: {} })) {
  describeBlockSource(`a raw file, its zeros ${name}`, async () => {
    const file = await makeFile()
    const source = await openRawFileSource(file.path, { signal, ...known })
    const close = source[Symbol.asyncDispose].bind(source)
    const dispose = async (): Promise<void> => {
      await close()
      await file[Symbol.asyncDispose]()
    }
    return { source: Object.assign(source, { [Symbol.asyncDispose]: dispose }), content: file.content }
  })
}

test('known zeros are told, to the byte', async () => {
  await using file = await makeFile()
  await using source = await openRawFileSource(file.path, { signal, findZeroRanges })
  const extents = await Array.fromAsync(source.extents({ offsetBytes: 20_000, lengthBytes: 90_000 }, { signal }))
  expect(extents.map(({ offsetBytes, lengthBytes, zero }) => [offsetBytes, lengthBytes, zero])).toEqual([
    [20_000, 50_000, true],
    [70_000, 30_000, false],
    [100_000, 512, true],
    [100_512, 9488, false],
  ])
})

test('a file that became shorter is source.read_failed, never a short read', async () => {
  await using file = await makeFile()
  await using source = await openRawFileSource(file.path, { signal })
  await truncate(file.path, 1000)
  const reading = source.read(0, new Uint8Array(2000), { signal })
  await expect(reading).rejects.toMatchObject({ code: 'source.read_failed', details: { offsetBytes: 1000 } })
})

test('what is no file is refused, and named', async () => {
  for (const path of ['/nonexistent/disk.raw', tmpdir(), '/dev/null']) {
    const opening = openRawFileSource(path, { signal })
    await expect(opening).rejects.toMatchObject({
      code: 'input.invalid',
      message: expect.stringContaining(path) as string,
    })
  }
})
