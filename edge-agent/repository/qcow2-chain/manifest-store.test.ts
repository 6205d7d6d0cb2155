import { randomInt, randomUUID } from 'node:crypto'
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { generateSigningKey } from '@sendense/shared/runtime/signing.ts'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { newManifest } from '../new-manifest.ts'
import { sealFactsOf } from '../repository-scenario.ts'
import type { RestorePointManifest } from '../restore-point-manifest.ts'
import { createManifestStore, type ManifestStore, pathOf } from './manifest-store.ts'
import { layerPath, manifestFileName } from './repository-layout.ts'

const untrusted = { code: 'repository.manifest_invalid' }

describe('sealed manifests', () => {
  const repositoryId = randomUUID()
  const signingKey = generateSigningKey()
  let dir: string
  let store: ManifestStore

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'sd-manifests-'))
    store = createManifestStore({ dir, repositoryId, signingKey, trustedPublicKeys: [] })
  })
  afterEach(async () => await rm(dir, { recursive: true, force: true }))

  test('what was sealed is read, listed and found', async () => {
    const manifest = manifestOf(repositoryId)
    const sealed = await seal(manifest)
    const [location] = await store.list({})
    expect(location).toMatchObject({ vmId: manifest.vmId, restorePointId: manifest.restorePointId })
    expect(await store.find(manifest.restorePointId)).toEqual(location)
    expect(location === undefined ? undefined : await store.read(location)).toEqual(sealed)
    expect(await store.find(randomUUID())).toBeUndefined()
    expect(await readdir(dir)).toEqual(['rp'])
  })

  test('no flipped bit is accepted', async () => {
    await seal(manifestOf(repositoryId))
    const [location] = await store.list({})
    if (location === undefined) throw new Error('one manifest was sealed')
    const path = pathOf(dir, location)
    const whole = await readFile(path)
    for (let offset = randomInt(8); offset < whole.length; offset += randomInt(1, 9)) {
      const damaged = Buffer.from(whole)
      damaged[offset] = (damaged[offset] ?? 0) ^ (1 << randomInt(8))
      await writeFile(path, damaged)
      await expect(store.read(location), `byte ${offset}`).rejects.toMatchObject(untrusted)
    }
    await writeFile(path, whole.subarray(0, whole.length / 2))
    await expect(store.read(location)).rejects.toMatchObject(untrusted)
    await writeFile(path, whole)
    expect((await store.read(location)).manifest.repositoryId).toBe(repositoryId)
  })

  test('a manifest in another’s place, of another VM or another repository is not believed', async () => {
    const [one, two] = [manifestOf(repositoryId), manifestOf(repositoryId)]
    await seal(one)
    await seal(two)
    const [first, second] = await store.list({})
    if (first === undefined || second === undefined) throw new Error('two manifests were sealed')
    await copyFile(pathOf(dir, first), pathOf(dir, second))
    await expect(store.read(second)).rejects.toMatchObject(untrusted)
    const moved = { ...first, vmId: randomUUID() }
    await mkdir(dirname(pathOf(dir, moved)), { recursive: true })
    await copyFile(pathOf(dir, first), pathOf(dir, moved))
    await expect(store.read(moved)).rejects.toMatchObject(untrusted)
    const stranger = createManifestStore({ dir, repositoryId: randomUUID(), signingKey, trustedPublicKeys: [] })
    await expect(stranger.read(first)).rejects.toMatchObject(untrusted)
  })

  test('a signature is believed by the keys that are trusted, and by no other', async () => {
    await seal(manifestOf(repositoryId))
    const [location] = await store.list({})
    if (location === undefined) throw new Error('one manifest was sealed')
    const own = generateSigningKey()
    const strict = createManifestStore({ dir, repositoryId, signingKey: own, trustedPublicKeys: [] })
    await expect(strict.read(location)).rejects.toMatchObject(untrusted)
    const trustedPublicKeys = [signingKey.publicKey]
    const trusting = createManifestStore({ dir, repositoryId, signingKey: own, trustedPublicKeys })
    expect((await trusting.read(location)).manifest.restorePointId).toBe(location.restorePointId)
  })

  test.each(['/etc/passwd', 'layers/../../x.qcow2', 'pages/00/x', layerPath(randomUUID(), 'disk0', randomUUID())])(
    'a layer that is no file of this disk is not sealed: %s',
    async (layer) => {
      const manifest = manifestOf(repositoryId)
      const [disk] = manifest.disks
      if (disk === undefined) throw new Error('one disk')
      await expect(seal({ ...manifest, disks: [{ ...disk, layers: [layer] }] })).rejects.toMatchObject(untrusted)
      expect(await store.list({})).toEqual([])
    },
  )

  test('other files beside manifests are nobody’s manifests', async () => {
    const manifest = manifestOf(repositoryId)
    await seal(manifest)
    const name = manifestFileName(manifest.takenAt, manifest.restorePointId)
    for (const other of [`${name}.tmp`, 'README', `x${name}`]) {
      await writeFile(join(dir, 'rp', manifest.vmId, other), 'x')
    }
    await mkdir(join(dir, 'rp', 'lost+found'))
    expect((await store.list({})).length).toBe(1)
  })

  async function seal(manifest: RestorePointManifest) {
    return await store.seal(manifest, join(dir, 'temporary'), () => undefined)
  }
})

function manifestOf(repositoryId: string): RestorePointManifest {
  const vmId = randomUUID()
  const restorePointId = randomUUID()
  const backup = { restorePointId, vmId, disks: [{ diskId: 'disk0', sizeBytes: 512, mode: 'full' }] } as const
  const layers = [layerPath(vmId, 'disk0', restorePointId)]
  return newManifest({
    repositoryId,
    chunkSizeBytes: 65_536,
    backup,
    parent: undefined,
    facts: sealFactsOf(backup, { takenAt: new Date(1_700_000_000_000) }),
    stored: new Map([['disk0', { pages: ['0'.repeat(64)], storedBytes: 0, layers }]]),
    sealedAt: new Date(1_700_000_000_001),
  })
}
