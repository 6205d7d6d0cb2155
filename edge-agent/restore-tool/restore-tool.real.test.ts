import { execFile, spawn } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { copyFile, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { createInterface } from 'node:readline'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { BlobServiceClient, StorageSharedKeyCredential } from '@azure/storage-blob'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { generateSigningKey } from '@sendense/shared/runtime/signing.ts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startAzurite } from '../../test/harness/azurite.ts'
import { startCephObjectGateway } from '../../test/harness/ceph-object-gateway.ts'
import { prepareLocalRepository } from '../jobs/local-repository.ts'
import { createRecoveryKit } from '../jobs/recovery-kits.ts'
import { openLocalStore } from '../object-store/local/local-store.ts'
import { type ObjectStoreConfig, parseStoreConfig } from '../object-store/object-store-config.ts'
import { openObjectStore } from '../object-store/open-object-store.ts'
import { expectSuccess } from '../qemu/qemu-img.ts'
import { Guest } from '../repository/scenario-guest.ts'
import { buildRestoreTool } from './bundle/build-restore.ts'
import { type LostSite, makeLostSite, SITE_PASSPHRASE } from './testing/make-lost-site.ts'

const signal = AbortSignal.timeout(600_000)
let root: string
/** Alone in its directory. */
let tool: string
let kitFile: string
let site: LostSite
let repositoryDir: string

beforeAll(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'sendense-restore-test-'))
  await buildRestoreTool(path.join(root, 'build/sendense-restore.mjs'))
  tool = path.join(await mkdtemp(path.join(root, 'alone-')), 'sendense-restore.mjs')
  await copyFile(path.join(root, 'build/sendense-restore.mjs'), tool)
  repositoryDir = await mkdtemp(path.join(root, 'repository-'))
  await openLocalStore({ directory: repositoryDir, create: { worm: false }, signal })
  const config = parseStoreConfig({ kind: 'directory', directory: repositoryDir })
  site = await makeLostSite(async () => await openObjectStore(config, { signal }))
  kitFile = path.join(root, 'kit.txt')
  await writeFile(kitFile, site.kitSheet)
}, 120_000)
afterAll(async () => await rm(root, { recursive: true, force: true }))

interface Run {
  readonly code: number
  readonly out: string
  readonly err: string
}

type Environment = Readonly<Record<string, string>>

/** The bundle alone, with nothing in its environment but what is given. */
async function run(
  args: readonly string[],
  environment: Environment = {},
  nodeArgs: readonly string[] = [],
): Promise<Run> {
  return await new Promise((resolve) => {
    const options = { env: environment, cwd: path.dirname(tool), signal, maxBuffer: 64 * 1024 * 1024 }
    execFile(process.execPath, [...nodeArgs, tool, ...args], options, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err })
    })
  })
}

async function newDirectory(): Promise<string> {
  return await mkdtemp(path.join(root, 'out-'))
}

async function expectExtracted(directory: string, extension: 'raw' | 'qcow2', which: 0 | 1): Promise<void> {
  for (const [diskId, bytes] of site.points[which].disks) {
    const file = path.join(directory, `${diskId}.${extension}`)
    const raw = extension === 'raw' ? file : `${file}.raw`
    if (extension === 'qcow2') await expectSuccess(['convert', '-f', 'qcow2', '-O', 'raw', file, raw], { signal })
    const found = await readFile(raw)
    expect(found.subarray(0, bytes.length).equals(bytes)).toBe(true)
    expect(found.subarray(bytes.length).every((byte) => byte === 0)).toBe(true)
  }
}

/** Names, contents and times of everything in a directory. */
async function fingerprint(directory: string): Promise<string> {
  const hash = createHash('sha256')
  for (const name of (await readdir(directory, { recursive: true })).toSorted()) {
    const file = path.join(directory, name)
    const facts = await stat(file)
    hash.update(`${name} ${facts.mtimeMs} ${facts.ctimeMs} ${facts.size}\n`)
    if (facts.isFile()) hash.update(await readFile(file))
  }
  return hash.digest('hex')
}

describe('one file, in an empty directory, with an empty environment', () => {
  test('says what it is and what it can', async () => {
    expect(await run(['--version'])).toMatchObject({ code: 0, out: expect.stringMatching(/^sendense-restore \d/) })
    const { out } = await run(['--help'])
    for (const command of ['list', 'verify', 'extract', 'serve']) expect(out).toContain(command)
    for (const command of ['list', 'verify', 'extract', 'serve']) {
      expect((await run([command, '--help'])).out).toMatch(/Exit status[\s\S]*2 {4}damage was found/)
    }
  })

  test('an older Node is told what is needed, before anything else of it runs', async () => {
    const older = "data:text/javascript,Object.defineProperty(process.versions,'node',{value:'22.14.0'})"
    const { code, err } = await run(['--version'], {}, ['--import', older])
    expect(code).toBe(1)
    expect(err).toMatch(/needs Node 22\.15 or newer; this is Node 22\.14\.0/)
  })

  test('lists, with times in the zone of who asks', async () => {
    const listed = await run(['list', repositoryDir, '--recovery-kit', kitFile], { TZ: 'Asia/Tokyo' })
    expect(listed).toMatchObject({ code: 0, err: '' })
    expect(listed.out).toMatch(/TAKEN \(Asia\/Tokyo\)/)
    expect(listed.out).toMatch(/scenario +[0-9a-f-]{36} {2}2026-11-24 17:00:00 +crash +vda 3 MiB, vdb 640 KiB/)
    const json = await run(['list', repositoryDir, '--json'], { SENDENSE_PASSPHRASE: SITE_PASSPHRASE })
    const facts: unknown = JSON.parse(json.out)
    expect(facts).toMatchObject({
      repositoryId: site.repositoryId,
      restorePoints: site.points.map(({ restorePointId }) => ({ restorePointId, vmName: 'scenario' })),
    })
  })

  test('verifies everything, and changes nothing at all in the repository', async () => {
    const before = await fingerprint(repositoryDir)
    const { code, out } = await run(['verify', repositoryDir, '--recovery-kit', kitFile])
    expect({ code, out }).toMatchObject({ code: 0, out: expect.stringMatching(/all 2 restore points are good/) })
    const directory = await newDirectory()
    await run(['extract', repositoryDir, 'scenario', '--recovery-kit', kitFile, '--output-dir', directory])
    expect(await fingerprint(repositoryDir)).toBe(before)
  })

  test('extracts raw, sparse, byte for byte, by the name of the VM and by the beginning of an id', async () => {
    const directory = await newDirectory()
    const newest = await run([
      'extract',
      repositoryDir,
      'scenario',
      '--recovery-kit',
      kitFile,
      '--output-dir',
      directory,
    ])
    expect(newest).toMatchObject({ code: 0, err: '' })
    await expectExtracted(directory, 'raw', 1)
    const { blocks, size } = await stat(path.join(directory, 'vda.raw'))
    expect(blocks * 512).toBeLessThan(size / 2 + 64 * 1024)
    expect(JSON.parse(await readFile(path.join(directory, 'restore-point.json'), 'utf8'))).toMatchObject({
      vmName: 'scenario',
      missing: [],
    })
    const older = await newDirectory()
    const start = site.points[0].restorePointId.slice(0, 13)
    await run(['extract', repositoryDir, start, '--recovery-kit', kitFile, '--output-dir', older])
    await expectExtracted(older, 'raw', 0)
  })

  test('an image that is there is not replaced unasked', async () => {
    const file = path.join(await newDirectory(), 'disk.raw')
    await writeFile(file, 'mine')
    const args = ['extract', repositoryDir, 'scenario', '--recovery-kit', kitFile, '--disk', 'vdb', '--output', file]
    expect(await run(args)).toMatchObject({ code: 1, err: expect.stringMatching(/input\.invalid.*is there already/) })
    expect(await readFile(file, 'utf8')).toBe('mine')
    expect(await run([...args, '--force'])).toMatchObject({ code: 0 })
    expect((await readFile(file)).equals(site.points[1].disks.get('vdb') ?? Buffer.alloc(0))).toBe(true)
    expect(await readdir(path.dirname(file))).toEqual(['disk.raw'])
  })

  test('extracts QCOW2 with qemu-img, and says which package is missing where it is not there', async () => {
    const directory = await newDirectory()
    const args = ['extract', repositoryDir, 'scenario', '--recovery-kit', kitFile, '--format', 'qcow2', '--output-dir']
    const environment = { PATH: process.env['PATH'] ?? '' }
    expect(await run([...args, directory], environment)).toMatchObject({ code: 0, err: '' })
    await expectExtracted(directory, 'qcow2', 1)
    const without = await run([...args, await newDirectory()], { PATH: '/nowhere' })
    expect(without).toMatchObject({ code: 1, err: expect.stringMatching(/install the package qemu-utils/) })
  })

  test('serves over NBD what was backed up, and ends in order', async () => {
    const socket = path.join(await newDirectory(), 'rp.sock')
    const args = [tool, 'serve', repositoryDir, 'scenario', '--recovery-kit', kitFile, '--unix', socket, '--json']
    const server = spawn(process.execPath, args, { env: {}, stdio: ['ignore', 'pipe', 'inherit'] })
    const ended = new Promise((resolve) => server.once('close', resolve))
    for await (const line of createInterface({ input: server.stdout })) if (line.includes('"serving"')) break
    const copy = `${socket}.raw`
    await expectSuccess(['convert', '-f', 'raw', '-O', 'raw', `nbd+unix:///vda?socket=${socket}`, copy], { signal })
    const bytes = site.points[1].disks.get('vda') ?? Buffer.alloc(0)
    expect((await readFile(copy)).subarray(0, bytes.length).equals(bytes)).toBe(true)
    server.kill('SIGTERM')
    expect(await ended).toBe(0)
  })

  test('the wrong kit, no key at all and a directory without a repository are told of, with what to do', async () => {
    const other = path.join(root, 'other.txt')
    await writeFile(
      other,
      site.kit.toText().replace(/^./, (first) => (first === 'Z' ? 'Y' : 'Z')),
    )
    const mistyped = await run(['list', repositoryDir, '--recovery-kit', other])
    expect(mistyped).toMatchObject({ code: 1, err: expect.stringMatching(/look at group 1/) })
    const wrong = await run(['list', repositoryDir], { SENDENSE_PASSPHRASE: 'not the one that was chosen' })
    expect(wrong).toMatchObject({ code: 1, err: expect.stringMatching(/repository\.key_wrong/) })
    expect(await run(['list', repositoryDir])).toMatchObject({ code: 1, err: expect.stringMatching(/--recovery-kit/) })
    const empty = await run(['list', await newDirectory(), '--recovery-kit', kitFile])
    expect(empty).toMatchObject({ code: 1, err: expect.stringMatching(/repository\.not_a_repository/) })
  })
})

describe('a damaged repository', () => {
  test('ends an extraction; --skip-damaged writes zeros in just the ranges that it lists, with exit status 2', async () => {
    const damaged = path.join(root, 'damaged')
    await expectCopied(repositoryDir, damaged)
    const packs = (await readdir(path.join(damaged, 'packs'), { recursive: true, withFileTypes: true })).filter(
      (entry) => entry.isFile(),
    )
    for (const pack of packs) {
      const file = path.join(pack.parentPath, pack.name)
      const bytes = await readFile(file)
      if (bytes.length < 150_000) continue
      bytes.writeUInt8(bytes.readUInt8(70_000) ^ 1, 70_000)
      await rm(file)
      await writeFile(file, bytes)
    }
    const directory = await newDirectory()
    const args = ['extract', damaged, 'scenario', '--recovery-kit', kitFile, '--output-dir', directory]
    expect(await run(args)).toMatchObject({ code: 1, err: expect.stringMatching(/repository\.chunk_corrupt/) })
    expect(await readdir(directory)).toEqual([])
    const verified = await run(['verify', damaged, '--recovery-kit', kitFile])
    expect(verified).toMatchObject({
      code: 2,
      out: expect.stringMatching(/DAMAGED[\s\S]*2 of 2 restore points are damaged/),
    })
    const skipping = await run([...args, '--skip-damaged', '--json'])
    expect(skipping.code).toBe(2)
    const facts = JSON.parse(await readFile(path.join(directory, 'restore-point.json'), 'utf8')) as {
      missing: { diskId: string; offsetBytes: number; lengthBytes: number }[]
    }
    expect(facts.missing.length).toBeGreaterThan(0)
    for (const [diskId, bytes] of site.points[1].disks) {
      const expected = Buffer.from(bytes)
      for (const { offsetBytes, lengthBytes } of facts.missing.filter((range) => range.diskId === diskId)) {
        expected.fill(0, offsetBytes, offsetBytes + lengthBytes)
      }
      expect((await readFile(path.join(directory, `${diskId}.raw`))).equals(expected)).toBe(true)
    }
  })
})

async function expectCopied(from: string, to: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    execFile('cp', ['-a', from, to], (error) => (error === null ? resolve() : reject(error)))
  })
}

/** Makes a site there, loses all but the storage and the kit, and restores. */
async function restoredFrom(config: ObjectStoreConfig, url: string, environment: Environment): Promise<Run> {
  const before = site
  try {
    site = await makeLostSite(async () => await openObjectStore(config, { signal }))
    const kit = path.join(await newDirectory(), 'kit.txt')
    await writeFile(kit, site.kit.toQrPayload())
    expect(await run(['verify', url, '--recovery-kit', kit], environment)).toMatchObject({ code: 0, err: '' })
    const directory = await newDirectory()
    const args = ['extract', url, site.vmId, '--recovery-kit', kit, '--output-dir', directory]
    const extracted = await run(args, environment)
    await expectExtracted(directory, 'raw', 1)
    return extracted
  } finally {
    site = before
  }
}

describe('chains of QCOW2 files', () => {
  test('are listed, verified and extracted with the kit, and QEMU’s package is named where it is missing', async () => {
    const stateDir = path.join(root, 'state')
    const chainDir = path.join(root, 'chains')
    const signingKey = generateSigningKey()
    const shared = { stateDir, signingKey, newId: randomUUID, clock: systemClock }
    const runtime = { runtimeDir: path.join(root, 'run'), logger: createLogger('test', 'silent') }
    const entry = await prepareLocalRepository({ ...shared, ...runtime, dir: chainDir, name: 'chains' })
    const { repositoryId } = entry.record
    const guest = new Guest()
    {
      await using repository = await entry.open({ signal })
      await guest.fill(2, 5, 200_000)
      await guest.backUp(repository)
      await guest.fill(3, 6)
      await guest.zero(4)
      await guest.backUp(repository)
    }
    const kit = path.join(await newDirectory(), 'kit.txt')
    using made = await createRecoveryKit({ ...shared, repositoryId, label: 'test' }, { signal })
    await writeFile(kit, made.toText())
    const environment = { PATH: process.env['PATH'] ?? '' }
    const verified = await run(['verify', chainDir, '--recovery-kit', kit], environment)
    expect(verified).toMatchObject({ code: 0, out: expect.stringMatching(/all 2 restore points are good/) })
    const directory = await newDirectory()
    const args = ['extract', chainDir, 'scenario', '--recovery-kit', kit, '--output-dir']
    expect(await run([...args, directory], environment)).toMatchObject({ code: 0, err: '' })
    expect((await readFile(path.join(directory, 'disk0.raw'))).equals(guest.disk.bytes)).toBe(true)
    const without = await run([...args, await newDirectory()], { PATH: await pathWithout('qemu-storage-daemon') })
    expect(without).toMatchObject({ code: 1, err: expect.stringMatching(/qemu-storage-daemon is not installed/) })
  })
})

/** A search path on which every program is but one. */
async function pathWithout(program: string): Promise<string> {
  const directory = await newDirectory()
  for (const name of ['setpriv', 'qemu-img', 'qemu-storage-daemon']) {
    if (name !== program) await symlink(path.join('/usr/bin', name), path.join(directory, name))
  }
  return directory
}

describe('object storage', () => {
  test('Ceph: lists, verifies and extracts byte for byte', async () => {
    await using ceph = await startCephObjectGateway()
    const { endpoint, credentials } = ceph
    const bucket = `bucket-${randomUUID()}`
    const client = new S3Client({
      endpoint,
      credentials: { ...credentials },
      region: 'us-east-1',
      forcePathStyle: true,
    })
    await client.send(new CreateBucketCommand({ Bucket: bucket }))
    client.destroy()
    const extracted = await restoredFrom(
      parseStoreConfig({ kind: 's3', bucket, prefix: 'site-1/', endpoint, credentials }),
      `s3://${bucket}/site-1?endpoint=${encodeURIComponent(endpoint)}`,
      { AWS_ACCESS_KEY_ID: credentials.accessKeyId, AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey },
    )
    expect(extracted).toMatchObject({ code: 0, err: '' })
  }, 180_000)

  test('Azurite: lists, verifies and extracts byte for byte', async () => {
    await using azurite = await startAzurite()
    const { account, accountKey, endpoint } = azurite
    const container = `c-${randomUUID()}`
    const credential = new StorageSharedKeyCredential(account, accountKey)
    await new BlobServiceClient(endpoint, credential).createContainer(container)
    const extracted = await restoredFrom(
      parseStoreConfig({ kind: 'azure-blob', account, container, endpoint, credentials: { accountKey } }),
      `azure://${account}/${container}?endpoint=${encodeURIComponent(endpoint)}`,
      { AZURE_STORAGE_KEY: accountKey },
    )
    expect(extracted).toMatchObject({ code: 0, err: '' })
  })
})
