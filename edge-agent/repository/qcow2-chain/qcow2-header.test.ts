import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { checkLayerHeader } from './qcow2-header.ts'

const SIZE_BYTES = 1024 * 1024
const plain = { sizeBytes: SIZE_BYTES, encrypted: false }

test('a plain layer of the right size passes', async () => {
  await expect(checkLayerHeader(await fileOf(header()), plain)).resolves.toBeUndefined()
})

test.each<[string, (bytes: Buffer) => unknown]>([
  ['is no QCOW2 file', (bytes) => bytes.writeUInt32BE(0, 0)],
  ['is of version 2', (bytes) => bytes.writeUInt32BE(2, 4)],
  ['has another size', (bytes) => bytes.writeBigUInt64BE(BigInt(SIZE_BYTES + 512), 24)],
  ['is encrypted', (bytes) => bytes.writeUInt32BE(2, 32)],
  ['was not closed cleanly', (bytes) => bytes.writeBigUInt64BE(1n, 72)],
  ['is marked corrupt', (bytes) => bytes.writeBigUInt64BE(2n, 72)],
  ['names an external data file', (bytes) => bytes.writeBigUInt64BE(4n, 72)],
])('a layer that %s is repository.chunk_corrupt', async (_what, change) => {
  const bytes = header()
  change(bytes)
  const path = await fileOf(bytes)
  await expect(checkLayerHeader(path, plain)).rejects.toMatchObject({ code: 'repository.chunk_corrupt' })
})

test('in an encrypted repository only LUKS will do', async () => {
  const encrypted = { ...plain, encrypted: true }
  await expect(checkLayerHeader(await withMethod(2), encrypted)).resolves.toBeUndefined()
  for (const method of [0, 1]) {
    const refused = checkLayerHeader(await withMethod(method), encrypted)
    await expect(refused).rejects.toMatchObject({ code: 'repository.chunk_corrupt' })
  }
})

test('a layer that is cut or missing is repository.chunk_corrupt', async () => {
  const corrupt = { code: 'repository.chunk_corrupt' }
  const path = await fileOf(header().subarray(0, 103))
  await expect(checkLayerHeader(path, plain)).rejects.toMatchObject(corrupt)
  await expect(checkLayerHeader(`${path}-none`, plain)).rejects.toMatchObject(corrupt)
})

async function withMethod(method: number): Promise<string> {
  const bytes = header()
  bytes.writeUInt32BE(method, 32)
  return await fileOf(bytes)
}

function header(): Buffer {
  const bytes = Buffer.alloc(104)
  bytes.write('QFI\u00fb', 0, 'latin1')
  bytes.writeUInt32BE(3, 4)
  bytes.writeBigUInt64BE(BigInt(SIZE_BYTES), 24)
  return bytes
}

async function fileOf(bytes: Uint8Array): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'sd-header-'))
  onTestFinished(async () => await rm(dir, { recursive: true, force: true }))
  const path = join(dir, 'layer.qcow2')
  await writeFile(path, bytes)
  return path
}
