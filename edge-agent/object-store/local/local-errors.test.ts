import { mkdir, readdir } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { listKeys } from '../guarantee.ts'
import { boundedFiles } from './bounded-files.ts'
import { usingFile } from './durable-files.ts'
import { openLocalStore } from './local-store.ts'
import { kernelError, stoppingFiles } from './stopping-files.ts'
import { kernelFiles, type StoreFiles } from './store-files.ts'
import { temporaryDirectory } from './temporary-directory.ts'

const signal = AbortSignal.timeout(60_000)
let root: Awaited<ReturnType<typeof temporaryDirectory>>
let count = 0

beforeAll(async () => {
  root = await temporaryDirectory()
})
afterAll(async () => await root[Symbol.asyncDispose]())

/** A store whose calls fail from `fail` on with a code, those that begin with `call`. */
async function failingStore() {
  const directory = path.join(root.path, String((count += 1)))
  await mkdir(directory)
  const failing: { code?: string; call: string } = { call: '' }
  const files = stoppingFiles(kernelFiles, (call) => {
    if (failing.code !== undefined && call.startsWith(failing.call)) throw kernelError(failing.code, call)
  })
  const store = await openLocalStore({ directory, create: { worm: false }, files, signal })
  return { directory, store, failing }
}

describe('errors of the kernel', () => {
  test.each([
    ['ENOSPC', 'append', 'storage.no_space'],
    ['EDQUOT', 'sync', 'storage.no_space'],
    ['ENOSPC', 'create', 'storage.no_space'],
    ['EIO', 'sync', 'storage.io_failed'],
    ['EIO', 'rename', 'storage.io_failed'],
    ['EROFS', 'create', 'storage.read_only'],
    ['EACCES', 'rename', 'storage.access_denied'],
    ['ESTALE', 'stat', 'storage.mount_stale'],
    ['ENOTCONN', 'create', 'storage.mount_stale'],
    ['ETIMEDOUT', 'append', 'storage.unreachable'],
    ['EPROTO', 'append', 'storage.io_failed'],
  ])('%s in %s of a put is %s, and nothing is there', async (code, call, expected) => {
    const { directory, store, failing } = await failingStore()
    Object.assign(failing, { code, call })
    const put = store.put('a/b', Buffer.from('x'), { signal })
    await expect(put).rejects.toMatchObject({ code: expected, details: { systemError: code } })
    delete failing.code
    expect(await store.find('a/b', { signal })).toBeUndefined()
    expect(await readdir(path.join(directory, '.sendense', 'partial')).catch(() => [])).toEqual([])
    await store.put('a/b', Buffer.from('x'), { signal })
  })

  test.each(['EIO', 'ESTALE'])(
    '%s while a store is listed, read or looked at is told, never taken for absence',
    async (code) => {
      const { store, failing } = await failingStore()
      await store.put('a/b', Buffer.from('x'), { signal })
      failing.code = code
      const expected = { details: { systemError: code } }
      await expect(listKeys(store, '', { signal })).rejects.toMatchObject(expected)
      await expect(store.find('a/b', { signal })).rejects.toMatchObject(expected)
      await expect(store.get('a/b', { signal })).rejects.toMatchObject(expected)
      await expect(store.delete('a/b', { signal })).rejects.toMatchObject(expected)
      delete failing.code
      expect(await listKeys(store, '', { signal })).toEqual(['a/b'])
    },
  )
})

/** Files that the kernel does not answer for until it is told to. */
function hangingFiles(): { files: StoreFiles; hang: () => void; goOn: () => void; running: () => number } {
  let gate = Promise.withResolvers<void>()
  gate.resolve()
  let running = 0
  const files: StoreFiles = {
    ...kernelFiles,
    stat: async (name, options) => {
      running += 1
      await gate.promise
      running -= 1
      return await kernelFiles.stat(name, options)
    },
  }
  return {
    files,
    hang: () => (gate = Promise.withResolvers()),
    goOn: () => gate.resolve(),
    running: () => running,
  }
}

describe('a mount that hangs', () => {
  test('every call ends at its deadline, and no more than a few wait in the kernel', async () => {
    const directory = path.join(root.path, String((count += 1)))
    await mkdir(directory)
    const { files, hang, goOn, running } = hangingFiles()
    const options = { directory, create: { worm: false }, files, callsMax: 3, timeoutMs: 50, signal }
    const store = await openLocalStore(options)
    await store.put('a', Buffer.from('x'), { signal })
    hang()
    const calls = Array.from({ length: 10 }, async () => await store.find('a', { signal }))
    for (const end of await Promise.allSettled(calls)) {
      expect(end).toMatchObject({ status: 'rejected', reason: { code: 'storage.timeout' } })
    }
    await expect(store.put('b', Buffer.from('x'), { signal })).rejects.toMatchObject({ code: 'storage.timeout' })
    expect(running()).toBe(3)
    goOn()
    await expect
      .poll(async () => await store.find('a', { signal }).catch(() => undefined))
      .toMatchObject({ sizeBytes: 1 })
    expect(running()).toBe(0)
  })

  test('an aborted call ends at once with its reason, also while it waits for its turn', async () => {
    const { files, hang, goOn, running } = hangingFiles()
    hang()
    const bounded = boundedFiles(files, { callsMax: 1, timeoutMs: 60_000 })
    const abort = new AbortController()
    const first = bounded.stat(root.path, { signal: abort.signal })
    const second = bounded.stat(root.path, { signal: abort.signal })
    const reason = new Error('enough')
    abort.abort(reason)
    await expect(first).rejects.toBe(reason)
    await expect(second).rejects.toBe(reason)
    expect(running()).toBe(1)
    goOn()
    expect((await bounded.stat(root.path, { signal })).kind).toBe('directory')
  })

  test('a file that is opened after its caller had gone is closed', async () => {
    const gate = Promise.withResolvers<void>()
    let closed = 0
    const late: StoreFiles = {
      ...kernelFiles,
      open: async (name, options) => {
        await gate.promise
        const file = await kernelFiles.open(name, options)
        return {
          ...file,
          close: async (call) => {
            await file.close(call)
            closed += 1
          },
        }
      },
    }
    const bounded = boundedFiles(late, { callsMax: 1, timeoutMs: 20 })
    await expect(bounded.open(import.meta.filename, { signal })).rejects.toMatchObject({ code: 'storage.timeout' })
    gate.resolve()
    await expect.poll(() => closed).toBe(1)
  })

  test('files are closed whose readers gave up while they waited for the kernel', async () => {
    let openFiles = 0
    const counting: StoreFiles = {
      ...kernelFiles,
      open: async (name, options) => {
        const file = await kernelFiles.open(name, options)
        openFiles += 1
        return {
          ...file,
          close: async (call) => {
            await file.close(call)
            openFiles -= 1
          },
        }
      },
    }
    const bounded = boundedFiles(counting, { callsMax: 1, timeoutMs: 20_000 })
    for (let turn = 0; turn < 40; turn += 1) {
      const gone = new AbortController()
      const options = { signal: gone.signal }
      const reads = Array.from({ length: 4 }, async () => {
        const file = await bounded.open(import.meta.filename, options)
        await usingFile(file, options, async () => await file.read(0, Buffer.alloc(16), options))
      })
      for (let step = 0; step < turn; step += 1) await new Promise<void>((resolve) => void setImmediate(resolve))
      gone.abort(new Error('enough'))
      await Promise.allSettled(reads)
    }
    await expect.poll(() => openFiles).toBe(0)
  })
})
