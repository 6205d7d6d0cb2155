import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { exportSigningKey, generateSigningKey } from '@sendense/shared/runtime/signing.ts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createAgentRepository } from '../jobs/chunk-repositories.ts'
import { parseStoreConfig } from '../object-store/object-store-config.ts'
import { openArchive } from '../restore-tool/open-archive.ts'
import { kitSecret } from '../restore-tool/secret-reader.ts'

const signal = AbortSignal.timeout(120_000)
const program = path.join(import.meta.dirname, 'main.ts')
let root: string
let stateDir: string

beforeAll(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'sd-kit-'))
  stateDir = path.join(root, 'state')
  await mkdir(stateDir)
  await writeFile(path.join(stateDir, 'identity.key'), exportSigningKey(generateSigningKey()), { mode: 0o600 })
})
afterAll(async () => await rm(root, { recursive: true, force: true }))

async function run(args: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  const env = { ...process.env, SENDENSE_EDGE_STATE_DIR: stateDir, SENDENSE_EDGE_DATABASE_SOCKET: '/nonexistent' }
  return await new Promise((resolve) => {
    execFile(process.execPath, [program, 'recovery-kit', 'create', ...args], { env, signal }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err })
    })
  })
}

test('the printed sheet opens the repository; as a file only its owner may read it, and it is never overwritten', async () => {
  const directory = path.join(root, 'store')
  await mkdir(directory)
  const store = parseStoreConfig({ kind: 'directory', directory })
  const passphrase = 'long enough to be one'
  const wanted = { stateDir, name: 'c', store, passphrase, newId: randomUUID, clock: systemClock }
  const repositoryId = await createAgentRepository(wanted, { signal })
  const printed = await run([repositoryId, '--label', 'the safe'])
  expect(printed).toMatchObject({
    code: 0,
    err: '',
    out: expect.stringMatching(/SENDENSE RECOVERY KIT[\s\S]*the safe/),
  })
  const file = path.join(root, 'kit.txt')
  expect(await run([repositoryId, '--output', file])).toMatchObject({ code: 0, out: '' })
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  const written = await readFile(file, 'utf8')
  expect((await run([repositoryId, '--output', file])).code).toBe(1)
  expect(await readFile(file, 'utf8')).toBe(written)
  for (const sheet of [printed.out, written]) {
    const secret = async (id: string) => kitSecret(sheet, id)
    await using archive = await openArchive({ storage: directory, secret, anySigner: false, signal })
    expect(archive.repositoryId).toBe(repositoryId)
  }
})

test('a repository that this agent has not is refused', async () => {
  expect(await run([randomUUID()])).toMatchObject({ code: 1, err: expect.stringMatching(/repository\.missing/) })
})
