import { mkdir, readdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { newId } from '@sendense/shared/runtime/identifiers.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { generateSigningKey } from '@sendense/shared/runtime/signing.ts'
import { expect, test } from 'vitest'
import { createMemoryDisk } from '../block/memory-disk.ts'
import { temporaryDirectory } from '../object-store/local/temporary-directory.ts'
import { createMemoryPackCatalogue } from '../repository/chunk-store/index/memory-pack-catalogue.ts'
import { backUp, restoreAll } from '../repository/repository-scenario.ts'
import {
  adoptAgentRepository,
  chunkRepositoryEntries,
  createAgentRepository,
  listAgentRepositories,
} from './chunk-repositories.ts'
import { RepositoryRegistry } from './repository-registry.ts'

const call = { signal: AbortSignal.timeout(120_000) }
const logger = createLogger('test', 'silent')
const passphrase = 'correct horse battery staple'

async function openAgent(stateDir: string, signingKey = generateSigningKey()) {
  const packs = createMemoryPackCatalogue()
  const shared = { agentId: newId(), packs: () => packs, clock: systemClock, logger }
  const entries = await chunkRepositoryEntries({ stateDir, signingKey, ...shared })
  return new RepositoryRegistry(entries, { clock: systemClock, logger })
}

test('an agent writes to the repository it made; another one is let in with the passphrase, and with no other', async () => {
  await using root = await temporaryDirectory()
  const [store, one, two] = ['store', 'one', 'two'].map((name) => path.join(root.path, name))
  for (const directory of [store, one, two]) await mkdir(directory ?? '')
  const wanted = {
    name: 'off site',
    store: { kind: 'directory', directory: store ?? '' },
    newId,
    clock: systemClock,
  } as const
  const signingKey = generateSigningKey()
  const repositoryId = await createAgentRepository({ ...wanted, stateDir: one ?? '', passphrase }, call)
  const again = createAgentRepository({ ...wanted, stateDir: two ?? '', passphrase }, call)
  await expect(again).rejects.toMatchObject({ code: 'repository.locked' })
  const content = new Uint8Array(3 * 1024 * 1024).fill(7)
  const source = createMemoryDisk({ sizeBytes: content.length, content })
  const disks = [{ diskId: 'disk0', sizeBytes: content.length, mode: 'full', source } as const]
  await using registry = await openAgent(one ?? '', signingKey)
  const repository = await registry.get(repositoryId, call)
  const { manifest } = await backUp(repository, { vmId: newId(), disks }, call)
  expect((await registry.report(call))[0]).toMatchObject({ kind: 'chunk-store', state: 'ready', name: 'off site' })

  const wrong = adoptAgentRepository({ ...wanted, stateDir: two ?? '', passphrase: 'not the passphrase' }, call)
  await expect(wrong).rejects.toMatchObject({ code: 'repository.key_wrong' })
  expect(await listAgentRepositories(two ?? '')).toEqual([])
  const adopted = await adoptAgentRepository({ ...wanted, stateDir: two ?? '', passphrase }, call)
  expect(adopted).toBe(repositoryId)
  await using other = await openAgent(two ?? '')
  const restored = await restoreAll(await other.get(repositoryId, call), manifest.restorePointId, call)
  expect(Buffer.compare(restored.get('disk0') ?? new Uint8Array(), content)).toBe(0)
  await using first = await openAgent(one ?? '', signingKey)
  expect((await first.get(repositoryId, call)).repositoryId).toBe(repositoryId)
})

test('what the agent keeps of it only its owner can read, and nothing of it is in the repository', async () => {
  await using root = await temporaryDirectory()
  const directory = path.join(root.path, 'store')
  await mkdir(directory)
  const store = { kind: 'directory', directory } as const
  const wanted = { name: 'r', store, passphrase, stateDir: root.path, newId, clock: systemClock }
  const repositoryId = await createAgentRepository(wanted, call)
  const file = path.join(root.path, 'chunk-repositories', `${repositoryId}.json`)
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  const agentKey = /-----BEGIN PRIVATE KEY-----\\n([^\\]+)/.exec(await readFile(file, 'utf8'))?.[1] ?? ''
  expect(agentKey.length).toBeGreaterThan(40)
  expect(await readFile(file, 'utf8')).not.toContain(passphrase)
  for (const name of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (!name.isFile()) continue
    const text = await readFile(path.join(name.parentPath, name.name), 'latin1')
    expect(text.includes(passphrase) || text.includes(agentKey)).toBe(false)
  }
})
