import { mkdir, readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type FaultyMount, mountFaultyDirectory } from '../../../test/doubles/fuse/faulty-mount.ts'
import { listKeys } from '../guarantee.ts'
import { describeObjectStore } from '../object-store.conformance.ts'
import { openLocalStore } from './local-store.ts'

const signal = AbortSignal.timeout(300_000)
const mounts = new AsyncDisposableStack()
afterAll(async () => await mounts.disposeAsync())

async function openMounted({ timeoutMs = 20_000 } = {}) {
  const mount = mounts.use(await mountFaultyDirectory())
  const directory = path.join(mount.mountPoint, 'backups')
  await mkdir(directory)
  const { mountPoint } = mount
  const store = await openLocalStore({ directory, mountPoint, create: { worm: false }, timeoutMs, signal })
  return { mount, directory, store }
}

describeObjectStore('a mounted directory (FUSE)', async () => (await openMounted()).store, { abilities: [], runs: 15 })

describe('a mount that breaks', () => {
  let mount: FaultyMount
  let store: Awaited<ReturnType<typeof openMounted>>['store']
  beforeAll(async () => {
    const opened = await openMounted()
    mount = opened.mount
    store = opened.store
    await store.put('a/there', Buffer.from('x'), { signal })
  })

  test.each([
    [{ WRITE: 'EIO' }, 'storage.io_failed'],
    [{ WRITE: 'ENOSPC' }, 'storage.no_space'],
    [{ FSYNC: 'EIO' }, 'storage.io_failed'],
    [{ FSYNC: 'EDQUOT' }, 'storage.no_space'],
    [{ CREATE: 'EROFS' }, 'storage.read_only'],
    [{ CREATE: 'ESTALE' }, 'storage.mount_stale'],
    [{ RENAME: 'EIO', RENAME2: 'EIO' }, 'storage.io_failed'],
    [{ FSYNCDIR: 'EIO' }, 'storage.io_failed'],
  ])('%j while an object is put is %s, and a retry succeeds', async (faults, code) => {
    const key = `b/${Object.entries(faults).flat().join('-')}`
    await mount.setFaults(faults)
    await expect(store.put(key, Buffer.from('whole'), { signal })).rejects.toMatchObject({ code })
    await mount.setFaults({})
    await store.put(key, Buffer.from('whole'), { signal })
    expect(Buffer.from(await store.get(key, { signal })).toString()).toBe('whole')
  })

  test.each([
    [{ GETATTR: 'ESTALE', LOOKUP: 'ESTALE' }, 'storage.mount_stale'],
    [{ GETATTR: 'EIO', LOOKUP: 'EIO' }, 'storage.io_failed'],
    [{ READDIR: 'EIO' }, 'storage.io_failed'],
  ])('%j is told as %s and never taken for an empty store', async (faults, code) => {
    await mount.setFaults(faults)
    await expect(listKeys(store, '', { signal })).rejects.toMatchObject({ code })
    await mount.setFaults({})
    expect(await listKeys(store, 'a/', { signal })).toEqual(['a/there'])
  })
})

test('a mount that hangs: calls end at their deadline, other files of the process stay in reach, and it works on later', async () => {
  const { mount, store } = await openMounted({ timeoutMs: 500 })
  await store.put('a', Buffer.from('x'), { signal })
  mount.hang()
  try {
    const calls = Array.from({ length: 8 }, async () => await store.get('a', { signal }))
    for (const end of await Promise.allSettled(calls)) {
      expect(end).toMatchObject({ status: 'rejected', reason: { code: 'storage.timeout' } })
    }
    // Three of Node's four file threads are in the kernel now.
    expect((await readFile(import.meta.filename, 'utf8')).length).toBeGreaterThan(100)
    await expect(store.put('b', Buffer.from('x'), { signal })).rejects.toMatchObject({ code: 'storage.timeout' })
  } finally {
    mount.resume()
  }
  await expect
    .poll(async () => await store.get('a', { signal }).catch(() => undefined), { timeout: 20_000 })
    .toBeDefined()
})

test('a mount whose server has died is stale; one that is gone is missing, and nothing is written in its place', async () => {
  const { mount, store } = await openMounted()
  await store.put('a', Buffer.from('x'), { signal })
  await mount.kill()
  await expect(store.get('a', { signal })).rejects.toMatchObject({ code: 'storage.mount_stale' })
  await expect(store.put('b', Buffer.from('x'), { signal })).rejects.toMatchObject({ code: 'storage.mount_stale' })
  await mount.unmount()
  const gone = { code: 'storage.mount_missing' }
  await expect(store.put('b', Buffer.from('x'), { signal })).rejects.toMatchObject(gone)
  await expect(store.find('a', { signal })).rejects.toMatchObject(gone)
  await expect(listKeys(store, '', { signal })).rejects.toMatchObject(gone)
  expect(await readdir(mount.mountPoint)).toEqual([])
})
