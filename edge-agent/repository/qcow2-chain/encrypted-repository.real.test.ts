import { randomBytes } from 'node:crypto'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { checkQcow2Image, createQcow2Image, expectSuccess } from '../../qemu/qemu-img.ts'
import { describeRepository } from '../repository.conformance.ts'
import { ChainScene, deadline } from './chain-scene.ts'
import { folders } from './repository-layout.ts'
import { makeTemporaryRepository } from './temporary-repository.ts'

const DISK_BYTES = 512 * 1024
const keyWrong = { code: 'repository.key_wrong' }

/**
 * Making an encrypted image takes QEMU seconds, whatever it is asked for: it measures how fast it is. Here each is a copy
 * of one that was made for its size; the tests below have theirs made anew, as the product does.
 */
const templates = new Map<number, Promise<Buffer>>()
const layerKey = randomBytes(32)
const createImage: typeof createQcow2Image = async ({ path, sizeBytes, secret }, call) => {
  const made = templates.get(sizeBytes) ?? makeTemplate()
  templates.set(sizeBytes, made)
  await writeFile(path, await made)

  async function makeTemplate(): Promise<Buffer> {
    await createQcow2Image({ path, sizeBytes, ...(secret === undefined ? {} : { secret }) }, call)
    return await readFile(path)
  }
}

describeRepository('encrypted QCOW2 chains', async () => {
  const place = await makeTemporaryRepository({ signal: AbortSignal.timeout(60_000) }, { layerKey })
  const reopen = async () => await place.open({ chainLayersMax: 3, createImage })
  return { repository: await reopen(), reopen, [Symbol.asyncDispose]: async () => await place[Symbol.asyncDispose]() }
})

test('another key, none, and one for a repository that is not encrypted are repository.key_wrong', async () => {
  await using place = await makeTemporaryRepository(deadline(), { layerKey: randomBytes(32) })
  await expect(place.open({ layerKey: randomBytes(32) })).rejects.toMatchObject(keyWrong)
  const { layerKey: _, ...without } = place.options
  await using plain = await makeTemporaryRepository(deadline())
  await expect(plain.open({ layerKey: randomBytes(32) })).rejects.toMatchObject(keyWrong)
  const { dir, expectedRepositoryId } = without
  await expect(plain.open({ dir, expectedRepositoryId })).rejects.toMatchObject(keyWrong)
  await expect(place.open({ layerKey: randomBytes(16) })).rejects.toMatchObject({ code: 'config.invalid' })
})

test('no layer holds a byte of the guest’s data in clear, merged ones neither, and QEMU calls them LUKS with AES-256-XTS', async () => {
  await using place = await makeTemporaryRepository(deadline(), { layerKey: randomBytes(32) })
  await using repository = await place.open()
  const scene = new ChainScene({ disk0: DISK_BYTES })
  const marker = Buffer.from('what the guest would not like to be read by others')
  const disk = scene.disks.get('disk0')
  const first = await scene.take(repository)
  await disk?.write(0, Buffer.alloc(DISK_BYTES, marker), deadline())
  await scene.take(repository)
  await expectNothingInClear()
  await scene.delete(repository, first)
  await expectNothingInClear()
  await scene.expectRestorable(repository)

  async function expectNothingInClear(): Promise<void> {
    const folder = join(place.dir, folders.layers, scene.vmId, 'disk0')
    for (const name of await readdir(folder)) {
      const path = join(folder, name)
      expect((await readFile(path)).includes(marker)).toBe(false)
      const info: unknown = JSON.parse(await expectSuccess(['info', '--output=json', path], deadline()))
      expect(info).toMatchObject({
        'encrypted': true,
        'format-specific': {
          data: {
            encrypt: { 'format': 'luks', 'cipher-alg': 'aes-256', 'cipher-mode': 'xts', 'ivgen-alg': 'plain64' },
          },
        },
      })
      await expect(checkQcow2Image(path, deadline())).rejects.toMatchObject({ code: 'qemu.command_failed' })
    }
  }
})

test('no program is told the key on its command line or in its environment, and no file has it', async () => {
  await using place = await makeTemporaryRepository(deadline(), { layerKey: randomBytes(32) })
  await using repository = await place.open()
  const scene = new ChainScene({ disk0: DISK_BYTES })
  const { manifest } = await scene.take(repository)
  await using _reader = await repository.openRestorePoint(manifest.restorePointId, deadline())
  const key = Buffer.from(place.options.layerKey ?? [])
  const forms = [key, Buffer.from(key.toString('base64')), Buffer.from(key.toString('hex'))]
  const daemons: string[] = []
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const told = [`/proc/${pid}/cmdline`, `/proc/${pid}/environ`]
    const texts = await Promise.all(told.map(async (path) => await readFile(path).catch(() => Buffer.alloc(0))))
    if (texts[0]?.includes(place.dir) === true) daemons.push(pid)
    for (const form of forms) expect(texts.some((text) => text.includes(form))).toBe(false)
  }
  expect(daemons.length).toBeGreaterThan(0)
  const files = await readdir(join(place.dir, '..'), { recursive: true, withFileTypes: true })
  for (const file of files.filter((entry) => entry.isFile())) {
    const content = await readFile(join(file.parentPath, file.name))
    for (const form of forms) expect(content.includes(form)).toBe(false)
  }
})
