import { randomUUID } from 'node:crypto'
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { folders } from './repository-layout.ts'
import { makeTemporaryRepository } from './temporary-repository.ts'

const call = { signal: AbortSignal.timeout(15_000) }

test('one lock that cannot be read keeps the leftovers, and keeps no repository from opening', async () => {
  await using place = await makeTemporaryRepository(call)
  const left = randomUUID()
  const lock = join(place.dir, folders.locks, `${randomUUID()}.lock`)
  await mkdir(join(place.dir, folders.partial, left), { recursive: true })
  await mkdir(join(place.dir, folders.locks), { recursive: true })
  await writeFile(lock, '')
  await using damaged = await place.open()
  expect((await damaged.getCapacity(call)).capacityBytes).toBeGreaterThan(0)
  expect(await readdir(join(place.dir, folders.partial))).toEqual([left])
  await rm(lock)
  await using _whole = await place.open()
  expect(await readdir(join(place.dir, folders.partial))).toEqual([])
})
