import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { generateSigningKey } from '@sendense/shared/runtime/signing.ts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseStoreConfig } from '../object-store/object-store-config.ts'
import { openObjectStore } from '../object-store/open-object-store.ts'
import { KeyStore } from '../repository/chunk-store/keys/key-store.ts'
import { call, Guest } from '../repository/scenario-guest.ts'
import type { Archive } from '../restore-tool/archive.ts'
import { findPoint } from '../restore-tool/find-point.ts'
import { openArchive } from '../restore-tool/open-archive.ts'
import { salvagedSource } from '../restore-tool/salvaged-source.ts'
import { kitSecret } from '../restore-tool/secret-reader.ts'
import { createAgentRepository } from './chunk-repositories.ts'
import { prepareLocalRepository } from './local-repository.ts'
import { createRecoveryKit } from './recovery-kits.ts'

const signal = AbortSignal.timeout(600_000)
const signingKey = generateSigningKey()
let root: string

beforeAll(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'sd-kits-'))
})
afterAll(async () => await rm(root, { recursive: true, force: true }))

function kitFor(repositoryId: string) {
  const stateDir = path.join(root, 'state')
  const wanted = { stateDir, repositoryId, label: 'test', signingKey, newId: randomUUID, clock: systemClock }
  return createRecoveryKit(wanted, { signal })
}

async function makeChain(name: string, encryption: 'none' | 'luks') {
  const dir = path.join(root, name)
  const entry = await prepareLocalRepository({
    stateDir: path.join(root, 'state'),
    dir,
    name,
    encryption,
    runtimeDir: path.join(root, 'run'),
    signingKey,
    newId: randomUUID,
    clock: systemClock,
    logger: createLogger('test', 'silent'),
  })
  return { dir, entry }
}

async function openWith(storage: string, kitText: string): Promise<Archive> {
  const secret = async (repositoryId: string) => kitSecret(kitText, repositoryId)
  return await openArchive({ storage, secret, anySigner: false, signal })
}

async function readDisk(archive: Archive, restorePointId: string): Promise<Uint8Array> {
  const sealed = findPoint(await archive.listRestorePoints({ signal }), restorePointId)
  const warnings: string[] = []
  const onWarning = (text: string): void => void warnings.push(text)
  await using point = await archive.openRestorePoint(sealed, { signal, skipDamaged: false, onWarning })
  expect(warnings).toEqual([])
  const disk = point.disks.get('disk0')
  if (disk === undefined) throw new Error('no disk')
  const source = salvagedSource(disk, { idKey: archive.idKey })
  const bytes = new Uint8Array(source.sizeBytes)
  await source.read(0, bytes, { signal })
  return bytes
}

describe.each(['none', 'luks'] as const)('chains of QCOW2 files, encryption %s', (encryption) => {
  test('with the directory and a kit alone every point reads back; nothing else opens it, and nothing in it is changed', async () => {
    const { dir, entry } = await makeChain(`chains-${encryption}`, encryption)
    const guest = new Guest()
    const contents = new Map<string, Uint8Array>()
    {
      await using repository = await entry.open({ signal })
      for (const byte of [1, 2]) {
        await guest.disk.write(byte * 64 * 1024, randomBytes(100_000), call())
        const { manifest } = await guest.backUp(repository)
        contents.set(manifest.restorePointId, Uint8Array.from(guest.disk.bytes))
      }
    }
    await expect(openWith(dir, '')).rejects.toMatchObject({ code: 'input.invalid' })
    using first = await kitFor(entry.record.repositoryId)
    using second = await kitFor(entry.record.repositoryId)
    const before = (await readdir(dir, { recursive: true })).toSorted()
    for (const kit of [first, second]) {
      await using archive = await openWith(dir, kit.toText())
      for (const [restorePointId, bytes] of contents) {
        expect(Buffer.compare(await readDisk(archive, restorePointId), bytes)).toBe(0)
      }
    }
    expect((await readdir(dir, { recursive: true })).toSorted()).toEqual(before)
    await using reopened = await entry.open({ signal })
    const { manifest } = await guest.backUp(reopened)
    await using archive = await openWith(dir, first.toQrPayload())
    expect(Buffer.compare(await readDisk(archive, manifest.restorePointId), guest.disk.bytes)).toBe(0)
  })

  test('a manifest that is signed by a key the repository does not know is not believed', async () => {
    const { dir, entry } = await makeChain(`signers-${encryption}`, encryption)
    const guest = new Guest()
    {
      await using repository = await entry.open({ signal })
      await guest.fill(1, 7)
      await guest.backUp(repository)
    }
    using kit = await kitFor(entry.record.repositoryId)
    const [signer = ''] = await readdir(path.join(dir, 'signers'))
    const bytes = await readFile(path.join(dir, 'signers', signer))
    bytes.writeUInt8(bytes.readUInt8(100) ^ 1, 100)
    await writeFile(path.join(dir, 'signers', signer), bytes)
    await using archive = await openWith(dir, kit.toText())
    expect(archive.warnings).toEqual([`signers/${signer} is damaged`])
    const points = await archive.listRestorePoints({ signal })
    expect(points).toMatchObject([{ manifest: { code: 'repository.manifest_invalid' } }])
  })
})

test('a kit opens a chunk repository of the agent, beside passphrase and agent, and so does one that was made before', async () => {
  const store = parseStoreConfig({ kind: 'directory', directory: await mkdtemp(path.join(root, 'chunks-')) })
  const stateDir = path.join(root, 'state')
  const passphrase = 'long enough to be one'
  const wanted = { stateDir, name: 'c', store, passphrase, newId: randomUUID, clock: systemClock }
  const repositoryId = await createAgentRepository(wanted, { signal })
  using first = await kitFor(repositoryId)
  using second = await kitFor(repositoryId)
  await using opened = await openObjectStore(store, { signal })
  const keys = new KeyStore({ store: opened, repositoryId })
  for (const secret of [first.recipientSecret, second.recipientSecret, { kind: 'passphrase', passphrase } as const]) {
    const { ring, missingKeys } = await keys.load(secret, { signal })
    expect({ recipients: ring.recipients.length, missingKeys }).toEqual({ recipients: 4, missingKeys: [] })
  }
})

test('a repository that the agent has not is repository.missing', async () => {
  await expect(kitFor(randomUUID())).rejects.toMatchObject({ code: 'repository.missing' })
})
