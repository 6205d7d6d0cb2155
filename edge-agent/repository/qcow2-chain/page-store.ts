import { readFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { ChunkIds } from '../../mover/chunk-ids.ts'
import { isPage, pageCount, pageLengthBytes, pagesOf, placePage } from '../chunk-id-pages.ts'
import type { ManifestDisk } from '../restore-point-manifest.ts'
import { makeDirectoryDurably, syncDirectory, writeDurably } from './durable-file.ts'
import { pagePath } from './repository-layout.ts'

/**
 * The chunk ids of a sealed disk; every page was checked against its name.
 * Rejects with `repository.manifest_invalid` where a page is missing, damaged or not of this disk.
 */
export async function loadChunkIds(dir: string, disk: ManifestDisk, signal: AbortSignal): Promise<ChunkIds> {
  const chunkIds = new ChunkIds(disk.sizeBytes, disk.chunkSizeBytes)
  if (disk.pages.length !== pageCount(chunkIds)) {
    throw invalid(`disk ${disk.diskId} has ${disk.pages.length} chunk-id pages, wanted ${pageCount(chunkIds)}`)
  }
  for (const [index, hash] of disk.pages.entries()) {
    signal.throwIfAborted()
    const bytes = await readPage(dir, hash)
    if (bytes === undefined) throw invalid(`chunk-id page ${hash} of disk ${disk.diskId} is missing`)
    if (bytes.length !== pageLengthBytes(chunkIds, index) || !isPage(bytes, hash)) {
      throw invalid(`chunk-id page ${hash} of disk ${disk.diskId} is damaged`)
    }
    placePage(chunkIds, index, bytes)
  }
  return chunkIds
}

/**
 * Makes the pages of a disk durable and returns their names, in disk order. Pages that are there whole are not
 * written again, but their names may not be durable yet: who wrote them may have died, or be about to sync. A damaged
 * one is replaced by the right bytes.
 * @param known names of pages that were checked in this session already
 * @param temporaryDir on the same file system; what a crash leaves stays there
 */
export async function storeChunkIds(
  dir: string,
  chunkIds: ChunkIds,
  options: { known: ReadonlySet<string>; temporaryDir: string; signal: AbortSignal },
): Promise<string[]> {
  const done = new Set(options.known)
  const names: string[] = []
  const unsure = new Set<string>()
  for (const page of pagesOf(chunkIds)) {
    options.signal.throwIfAborted()
    names.push(page.hash)
    if (done.has(page.hash)) continue
    done.add(page.hash)
    const path = join(dir, pagePath(page.hash))
    const found = await readPage(dir, page.hash)
    for (const above of directoriesAbove(dir, dirname(path))) unsure.add(above)
    if (found !== undefined && isPage(found, page.hash)) {
      unsure.add(dirname(path))
      continue
    }
    await makeDirectoryDurably(dir, dirname(path))
    await writeDurably(path, page.bytes, join(options.temporaryDir, basename(path)))
  }
  for (const directory of unsure) {
    options.signal.throwIfAborted()
    await syncDirectory(directory)
  }
  return names
}

/** From the one that holds `path` up to `root`. */
function* directoriesAbove(root: string, path: string): Generator<string> {
  for (let directory = path; directory.length > root.length; directory = dirname(directory)) yield dirname(directory)
}

async function readPage(dir: string, hash: string): Promise<Uint8Array | undefined> {
  try {
    return await readFile(join(dir, pagePath(hash)))
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

function invalid(message: string): PlatformError {
  return new PlatformError('repository.manifest_invalid', message)
}
