import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { BlobServiceClient, StorageSharedKeyCredential } from '@azure/storage-blob'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type S3Fault, startS3Double } from '../../test/doubles/s3/s3-double.ts'
import { startAzurite } from '../../test/harness/azurite.ts'

const main = fileURLToPath(new URL('main.ts', import.meta.url))
let root: string

beforeAll(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'sendense-validate-command-'))
})
afterAll(async () => await rm(root, { recursive: true, force: true }))

interface Ended {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

async function run(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  return await new Promise((resolve) => {
    const options = { env: { PATH: process.env['PATH'], ...env }, timeout: 100_000 }
    execFile(process.execPath, [main, 'validate-storage', ...args], options, (error, stdout, stderr) => {
      resolve({ exitCode: error === null ? 0 : Number(error.code), stdout, stderr })
    })
  })
}

test('a directory that keeps everything: exit code 0, a readable report, nothing left', async () => {
  const directory = path.join(root, 'good')
  await mkdir(directory)
  await writeFile(path.join(directory, 'holiday.jpg'), 'x')
  const { exitCode, stdout, stderr } = await run([`file://${directory}`, '--retain-seconds', '3'])
  expect(exitCode).toBe(0)
  expect(stdout).toMatch(/kept +returns exactly the bytes that were put/)
  expect(stdout).toMatch(/All \d+ promises that it makes are kept\./)
  expect(stderr).toContain('deleting what was put')
  expect(await readdir(directory)).toEqual(['holiday.jpg'])
})

test('a container, from the environment’s keys, as JSON', async () => {
  await using azurite = await startAzurite()
  const { account, accountKey, endpoint } = azurite
  await new BlobServiceClient(endpoint, new StorageSharedKeyCredential(account, accountKey)).createContainer('trial')
  const url = `azure://${account}/trial/p?endpoint=${encodeURIComponent(endpoint)}`
  const { exitCode, stdout } = await run([url, '--json'], { AZURE_STORAGE_KEY: accountKey })
  expect(exitCode).toBe(0)
  expect(stdout).not.toContain(accountKey)
  expect(JSON.parse(stdout)).toMatchObject({
    vendor: 'Azurite',
    leftBehind: [],
    guarantees: expect.arrayContaining([{ promise: expect.stringContaining('hot and in the cool'), outcome: 'kept' }]),
    findings: expect.arrayContaining([expect.objectContaining({ capability: 'tiers', outcome: 'works' })]),
  })
})

const cut = (operation: string): S3Fault | undefined => (operation === 'GetObject' ? 'truncated' : undefined)

test('a server that loses answers, from a config file: exit code 2 and which promises are broken', async () => {
  await using double = await startS3Double({ fault: cut })
  const { endpoint, region, credentials } = double
  const file = path.join(root, 'storage.json')
  await writeFile(file, JSON.stringify({ kind: 's3', bucket: double.createBucket({}), endpoint, region, credentials }))
  const { exitCode, stdout } = await run([file])
  expect(exitCode).toBe(2)
  expect(stdout).toMatch(/broken +returns exactly the bytes that were put/)
  expect(stdout).toMatch(/promises are broken: do not keep backups here/)
  expect(stdout).not.toContain(credentials.secretAccessKey)
})

test('what cannot be tried: exit code 1, code, message and advice', async () => {
  const missing = await run([`file://${root}/no-such-directory`])
  expect(missing.exitCode).toBe(1)
  expect(missing.stderr).toMatch(/^storage\.mount_missing: there is no directory/m)
  const unmounted = await run([`file://${root}?mountPoint=${root}`])
  expect(unmounted.stderr).toMatch(/^storage\.mount_missing: nothing is mounted at/m)
  expect((await run(['s3://bucket'])).stderr).toMatch(/AWS_ACCESS_KEY_ID/)
  expect((await run([path.join(root, 'none.json')])).stderr).toMatch(/^config\.invalid/m)
})
