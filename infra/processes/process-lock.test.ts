import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { tryLock } from './process-lock.ts'

let directory: string
let file: string

beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'sendense-lock-'))
  file = path.join(directory, 'lock.json')
})

afterEach(async () => await rm(directory, { recursive: true, force: true }))

test('a held lock names its process, and is free once it was disposed', async () => {
  const { lock } = await tryLock(file)
  expect((await tryLock(file)).holder?.pid).toBe(process.pid)
  await lock?.[Symbol.asyncDispose]()
  expect((await tryLock(file)).lock).toBeDefined()
})

test('a lock whose process is gone is taken over, also when its pid lives on as another process', async () => {
  await writeFile(file, JSON.stringify({ pid: process.pid, startTicks: '1' }))
  expect((await tryLock(file)).lock).toBeDefined()
  await writeFile(file, '{"pid":')
  expect((await tryLock(file)).lock).toBeDefined()
})

test('of many that ask at once exactly one gets it, and nothing but the lock is left', async () => {
  const attempts = await Promise.all(Array.from({ length: 8 }, async () => await tryLock(file)))
  expect(attempts.filter((attempt) => attempt.lock !== undefined)).toHaveLength(1)
  expect(await readdir(directory)).toEqual(['lock.json'])
})
