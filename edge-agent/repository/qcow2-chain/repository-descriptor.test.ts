import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createQcow2Repository, readRepositoryDescriptor } from './repository-descriptor.ts'

const call = { signal: AbortSignal.timeout(60_000) }
let root: string

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'sd-descriptor-'))
})
afterEach(async () => await rm(root, { recursive: true, force: true }))

test('a new repository is what was asked for, and making it again changes nothing', async () => {
  const dir = join(root, 'a', 'b')
  const repositoryId = randomUUID()
  await createQcow2Repository({ dir, repositoryId }, call)
  const made = await readRepositoryDescriptor(dir, call)
  expect(made).toMatchObject({ repositoryId, kind: 'qcow2-chain', chunkSizeBytes: 256 * 1024, version: 1 })
  await createQcow2Repository({ dir, repositoryId, chunkSizeBytes: 65_536 }, call)
  expect(await readRepositoryDescriptor(dir, call)).toEqual(made)
})

test('a directory that holds something else, or another repository, is left alone', async () => {
  const refused = { code: 'repository.not_a_repository' }
  await writeFile(join(root, 'holiday.jpg'), 'x')
  await expect(createQcow2Repository({ dir: root, repositoryId: randomUUID() }, call)).rejects.toMatchObject(refused)
  await expect(readRepositoryDescriptor(root, call)).rejects.toMatchObject(refused)
  const dir = join(root, 'other')
  await createQcow2Repository({ dir, repositoryId: randomUUID() }, call)
  await expect(createQcow2Repository({ dir, repositoryId: randomUUID() }, call)).rejects.toMatchObject(refused)
})

test('a fresh file system with its own folder, or one where making it was interrupted, counts as empty', async () => {
  await mkdir(join(root, 'lost+found'))
  await writeFile(join(root, `.repo.json-${randomUUID()}`), '{"for')
  const repositoryId = randomUUID()
  await createQcow2Repository({ dir: root, repositoryId }, call)
  expect((await readRepositoryDescriptor(root, call)).repositoryId).toBe(repositoryId)
})

test('each way of not being a repository has its code', async () => {
  const read = async (dir: string) => await readRepositoryDescriptor(dir, call)
  await expect(read(join(root, 'nowhere'))).rejects.toMatchObject({ code: 'repository.missing' })
  const file = join(root, 'file')
  await writeFile(file, '')
  await expect(read(file)).rejects.toMatchObject({ code: 'repository.not_a_repository' })

  const dir = join(root, 'r')
  await createQcow2Repository({ dir, repositoryId: randomUUID() }, call)
  const good = await readFile(join(dir, 'repo.json'), 'utf8')
  const changes: [string, string][] = [
    ['{', 'repository.not_a_repository'],
    ['{}', 'repository.not_a_repository'],
    [good.replace('262144', '300000'), 'repository.not_a_repository'],
    [good.replace('"version": 1', '"version": 2'), 'repository.format_unsupported'],
    [good.replace('qcow2-chain', 'chunk-store'), 'repository.format_unsupported'],
  ]
  for (const [text, code] of changes) {
    await writeFile(join(dir, 'repo.json'), text)
    const refused = expect.objectContaining({ text, code })
    await expect(read(dir).catch((error: { code: string }) => ({ text, code: error.code }))).resolves.toEqual(refused)
  }
})

test('nonsense is input.invalid', async () => {
  const dir = join(root, 'r')
  const invalid = { code: 'input.invalid' }
  await expect(createQcow2Repository({ dir, repositoryId: 'x' }, call)).rejects.toMatchObject(invalid)
  const small = createQcow2Repository({ dir, repositoryId: randomUUID(), chunkSizeBytes: 1000 }, call)
  await expect(small).rejects.toMatchObject(invalid)
})
