import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { CHUNK_ID_BYTES, ChunkIds } from '../../mover/chunk-ids.ts'
import { PAGE_IDS } from '../chunk-id-pages.ts'
import { storeChunkIds } from './page-store.ts'
import { folders, pagePath } from './repository-layout.ts'
import { watchSyncs } from './watch-syncs.ts'

const CHUNK_BYTES = 65_536
const { signal } = new AbortController()
let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'sd-pages-'))
  await mkdir(join(dir, folders.partial))
})
afterEach(async () => await rm(dir, { recursive: true, force: true }))

test('the names of pages that were found are made durable as those that were written', async () => {
  const chunkIds = makeChunkIds(2 * PAGE_IDS)
  const names = await store(chunkIds, new Set())
  expect(names).toHaveLength(2)
  const shards = names.map((name) => dirname(join(dir, pagePath(name))))
  const synced: string[] = []
  using _watch = await watchSyncs((path) => void synced.push(path))
  expect(await store(chunkIds, new Set())).toEqual(names)
  expect(synced.toSorted()).toEqual([...new Set([...shards, join(dir, folders.pages), dir])].toSorted())
})

test('pages of the parent are durable already: nothing is asked of the storage for them', async () => {
  const chunkIds = makeChunkIds(PAGE_IDS)
  const names = await store(chunkIds, new Set())
  const synced: string[] = []
  using _watch = await watchSyncs((path) => void synced.push(path))
  expect(await store(chunkIds, new Set(names))).toEqual(names)
  expect(synced).toEqual([])
})

async function store(chunkIds: ChunkIds, known: ReadonlySet<string>): Promise<string[]> {
  return await storeChunkIds(dir, chunkIds, { known, temporaryDir: join(dir, folders.partial), signal })
}

function makeChunkIds(count: number): ChunkIds {
  const chunkIds = new ChunkIds(count * CHUNK_BYTES, CHUNK_BYTES)
  for (let index = 0; index < count; index += 1) {
    const id = Buffer.alloc(CHUNK_ID_BYTES)
    id.writeUInt32BE(index + 1)
    chunkIds.set(index, id)
  }
  return chunkIds
}
