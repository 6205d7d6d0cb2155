import { chmod, mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { listKeys } from '../guarantee.ts'
import { describeObjectStore } from '../object-store.conformance.ts'
import { createSleepingClock } from '../sleeping-clock.ts'
import { createForgetfulFiles } from './forgetful-files.ts'
import { openLocalStore } from './local-store.ts'
import { kernelFiles } from './store-files.ts'
import { temporaryDirectory } from './temporary-directory.ts'

const signal = AbortSignal.timeout(60_000)
const clock = createSleepingClock()
let root: Awaited<ReturnType<typeof temporaryDirectory>>
let count = 0

beforeAll(async () => {
  root = await temporaryDirectory()
})
afterAll(async () => await root[Symbol.asyncDispose]())

async function freshDirectory(): Promise<string> {
  const directory = path.join(root.path, String((count += 1)))
  await mkdir(directory)
  return directory
}

async function freshStore({ worm = false } = {}) {
  const directory = await freshDirectory()
  return { directory, store: await openLocalStore({ directory, create: { worm }, clock, signal }) }
}

describeObjectStore('local directory', async () => (await freshStore()).store, { abilities: [] })
describeObjectStore(
  'local directory with retentions, three objects a page',
  async () =>
    await openLocalStore({ directory: await freshDirectory(), create: { worm: true }, clock, pageMax: 3, signal }),
  { abilities: ['immutability'], clock },
)
describeObjectStore(
  'local directory whose files know what is not synced',
  async () => {
    const files = createForgetfulFiles(kernelFiles, await freshDirectory())
    return await openLocalStore({ directory: await freshDirectory(), create: { worm: true }, clock, files, signal })
  },
  { abilities: ['immutability'], clock },
)

describe('a directory as a store', () => {
  test('objects are plain files under their keys, readable by the owner only', async () => {
    const { directory, store } = await freshStore()
    await store.put('packs/ab/cd.pack', Buffer.from('content'), { signal })
    const file = path.join(directory, 'packs/ab/cd.pack')
    expect(await readFile(file, 'utf8')).toBe('content')
    expect((await stat(file)).mode & 0o777).toBe(0o400)
  })

  test('files of others are neither listed nor deleted', async () => {
    const { directory, store } = await freshStore()
    await mkdir(path.join(directory, '.snapshot'))
    await mkdir(path.join(directory, 'a'))
    await writeFile(path.join(directory, '.snapshot', 'x'), 'x')
    await writeFile(path.join(directory, 'a', 'with space'), 'x')
    await store.put('a/b', Uint8Array.of(1), { signal })
    expect(await listKeys(store, '', { signal })).toEqual(['a/b'])
    await store.delete('a/b', { signal })
    expect(await readdir(path.join(directory, 'a'))).toEqual(['with space'])
  })

  test('a folder goes with its last object, and the next put makes it again', async () => {
    const { directory, store } = await freshStore()
    await store.put('a/b/c', Uint8Array.of(1), { signal })
    await store.delete('a/b/c', { signal })
    expect((await readdir(directory)).toSorted()).toEqual(['.sendense'])
    await rm(path.join(directory, '.sendense', 'partial'), { recursive: true })
    await store.put('a/b/c', Uint8Array.of(2), { signal })
    expect(await store.get('a/b/c', { signal })).toEqual(Uint8Array.of(2))
  })

  test('a key that would be a folder of another is refused', async () => {
    const { store } = await freshStore()
    await store.put('a/b', Uint8Array.of(1), { signal })
    await expect(store.put('a', Uint8Array.of(1), { signal })).rejects.toMatchObject({ code: 'input.invalid' })
    await expect(store.put('a/b/c', Uint8Array.of(1), { signal })).rejects.toMatchObject({ code: 'input.invalid' })
    expect(await store.get('a/b', { signal })).toEqual(Uint8Array.of(1))
  })

  test('what a put that was cut short left behind is removed a day later, not before', async () => {
    const { directory, store } = await freshStore()
    await store.put('a', Uint8Array.of(1), { signal })
    const partial = path.join(directory, '.sendense', 'partial')
    expect(await readdir(partial)).toEqual([])
    await writeFile(path.join(partial, 'old'), 'x')
    await writeFile(path.join(partial, 'new'), 'x')
    const old = new Date(clock.now().getTime() - 25 * 3_600_000)
    await utimes(path.join(partial, 'old'), old, old)
    await openLocalStore({ directory, clock, signal })
    expect(await readdir(partial)).toEqual(['new'])
  })

  test('opened to be read only, what was left behind stays, and a copy without the mark of a store is read', async () => {
    const { directory, store } = await freshStore()
    await store.put('a', Uint8Array.of(1), { signal })
    const old = path.join(directory, '.sendense', 'partial', 'old')
    await writeFile(old, 'x')
    const longAgo = new Date(clock.now().getTime() - 25 * 3_600_000)
    await utimes(old, longAgo, longAgo)
    await openLocalStore({ directory, readOnly: true, clock, signal })
    expect(await readFile(old, 'utf8')).toBe('x')
    await rm(path.join(directory, '.sendense'), { recursive: true })
    await expect(openLocalStore({ directory, clock, signal })).rejects.toMatchObject({ code: 'storage.wrong_store' })
    const copy = await openLocalStore({ directory, readOnly: true, clock, signal })
    expect(await copy.get('a', { signal })).toEqual(Uint8Array.of(1))
    expect(await readdir(directory)).toEqual(['a'])
  })

  test('a retention holds for who opens the store again, and for files whose protection is damaged', async () => {
    const { directory, store } = await freshStore({ worm: true })
    const retainUntil = new Date((Math.floor(clock.now().getTime() / 1000) + 3600) * 1000)
    const retention = { mode: 'compliance', retainUntil } as const
    await store.immutability?.put('a', Uint8Array.of(1), { signal, retention })
    const again = await openLocalStore({ directory, clock, signal })
    expect(await again.immutability?.findRetention('a', { signal })).toEqual(retention)
    await expect(again.delete('a', { signal })).rejects.toMatchObject({ code: 'storage.immutable' })
    const sidecar = path.join(directory, '.sendense', 'protection', 'a~')
    await chmod(sidecar, 0o600)
    await writeFile(sidecar, '{"version":1,"leg')
    await expect(again.delete('a', { signal })).rejects.toMatchObject({ code: 'storage.io_failed' })
  })
})

describe('which directory it is', () => {
  test('a directory that is no store is not taken for one, and one with files of others is not made one', async () => {
    const directory = await freshDirectory()
    await expect(openLocalStore({ directory, signal })).rejects.toMatchObject({ code: 'storage.wrong_store' })
    await writeFile(path.join(directory, 'thesis.doc'), 'x')
    const call = openLocalStore({ directory, create: { worm: false }, signal })
    await expect(call).rejects.toMatchObject({ code: 'storage.wrong_store' })
    const missing = openLocalStore({ directory: path.join(directory, 'no'), create: { worm: false }, signal })
    await expect(missing).rejects.toMatchObject({ code: 'storage.mount_missing' })
  })

  test('another store than the expected one is refused', async () => {
    const { directory, store } = await freshStore()
    const other = await freshStore()
    await expect(openLocalStore({ directory, storeId: other.store.storeId, signal })).rejects.toMatchObject({
      code: 'storage.wrong_store',
    })
    await openLocalStore({ directory, storeId: store.storeId, signal })
  })

  test('a mount point on which nothing is mounted is refused', async () => {
    const mountPoint = await freshDirectory()
    const directory = path.join(mountPoint, 'backups')
    await mkdir(directory)
    const call = openLocalStore({ directory, mountPoint, create: { worm: false }, signal })
    await expect(call).rejects.toMatchObject({ code: 'storage.mount_missing' })
    expect(await readdir(directory)).toEqual([])
    const other = openLocalStore({ directory, mountPoint: path.join(root.path, 'other'), signal })
    await expect(other).rejects.toMatchObject({ code: 'config.invalid' })
  })

  test('a mount that goes away under an open store fails every call, and nothing is written beside it', async () => {
    const { directory, store } = await freshStore()
    await store.put('a/1', Uint8Array.of(1), { signal })
    await rename(directory, `${directory}-unmounted`)
    await mkdir(directory)
    const gone = { code: 'storage.mount_missing' }
    await expect(store.put('a/2', Uint8Array.of(1), { signal })).rejects.toMatchObject(gone)
    await expect(store.find('a/1', { signal })).rejects.toMatchObject(gone)
    await expect(store.get('a/1', { signal })).rejects.toMatchObject(gone)
    await expect(store.delete('a/1', { signal })).rejects.toMatchObject(gone)
    await expect(listKeys(store, '', { signal })).rejects.toMatchObject(gone)
    expect(await readdir(directory)).toEqual([])
    await rm(directory, { recursive: true })
    await rename(`${directory}-unmounted`, directory)
    expect(await store.get('a/1', { signal })).toEqual(Uint8Array.of(1))
  })

  test('another store that is mounted under an open one is refused', async () => {
    const { directory, store } = await freshStore()
    const other = await freshStore()
    await store.put('a', Uint8Array.of(1), { signal })
    await rename(directory, `${directory}-unmounted`)
    await rename(other.directory, directory)
    const wrong = { code: 'storage.wrong_store' }
    await expect(store.put('b', Uint8Array.of(1), { signal })).rejects.toMatchObject(wrong)
    await expect(store.find('a', { signal })).rejects.toMatchObject(wrong)
  })
})
