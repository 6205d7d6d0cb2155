import { spawn } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { exportSigningKey } from '@sendense/shared/runtime/signing.ts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { CallOptions } from '../../block/block-source.ts'
import { createMemoryDisk } from '../../block/memory-disk.ts'
import { createForgetfulFiles } from '../../object-store/local/forgetful-files.ts'
import { openLocalStore } from '../../object-store/local/local-store.ts'
import { stoppingFiles } from '../../object-store/local/stopping-files.ts'
import { kernelFiles } from '../../object-store/local/store-files.ts'
import { temporaryDirectory } from '../../object-store/local/temporary-directory.ts'
import { backUp, restoreAll } from '../repository-scenario.ts'
import type { Repository } from '../repository.ts'
import { chunkSealSteps } from './chunk-context.ts'
import type { DyingChunkWriterOrder } from './dying-chunk-writer.ts'
import { createMemoryPackCatalogue } from './index/memory-pack-catalogue.ts'
import { makeTestChunkRepository, type TestChunkRepository } from './test-chunk-repository.ts'

const DISK_BYTES = 2 * 1024 * 1024
/** Places in the course of a backup at which the power goes. */
const STOPS = 60
const script = fileURLToPath(new URL('dying-chunk-writer.ts', import.meta.url))
let root: Awaited<ReturnType<typeof temporaryDirectory>>

beforeAll(async () => {
  root = await temporaryDirectory()
})
afterAll(async () => await root?.[Symbol.asyncDispose]())

interface Point {
  readonly id: string
  readonly content: Uint8Array
}

async function makePlace(name: string): Promise<{ directory: string; made: TestChunkRepository }> {
  const directory = path.join(root.path, name)
  await mkdir(directory)
  await openLocalStore({ directory, create: { worm: false }, ...call() })
  return {
    directory,
    made: await makeTestChunkRepository(async () => await openLocalStore({ directory, ...call() }), call()),
  }
}

async function takePoint(
  repository: Repository,
  vmId: string,
  parent: Point | undefined,
  minute: number,
): Promise<Point> {
  const content = randomContent()
  const source = createMemoryDisk({ sizeBytes: DISK_BYTES, content })
  const base = parent === undefined ? {} : { parentRestorePointId: parent.id }
  const mode = parent === undefined ? 'full' : 'compare'
  const disk = { diskId: 'disk0', sizeBytes: DISK_BYTES, mode, source } as const
  const { manifest } = await backUp(repository, { vmId, takenAt: instant(minute), ...base, disks: [disk] }, call())
  return { id: manifest.restorePointId, content }
}

/** The restore points that are listed and, where they are in `points`, restore byte for byte. */
async function whatRestores(repository: Repository, points: readonly Point[]): Promise<string[]> {
  const right: string[] = []
  for await (const { manifest } of repository.listRestorePoints({}, call())) {
    const id = manifest.restorePointId
    const content = points.find((point) => point.id === id)?.content
    const restored = (await restoreAll(repository, id, call())).get('disk0')
    if (content === undefined || Buffer.compare(restored ?? new Uint8Array(), content) === 0) right.push(id)
  }
  return right
}

describe('a writer killed with SIGKILL', () => {
  const vmId = randomUUID()
  const points: Point[] = []
  let place: Awaited<ReturnType<typeof makePlace>>
  let minute = 0

  beforeAll(async () => {
    place = await makePlace('killed')
    await using repository = await place.made.open()
    points.push(await takePoint(repository, vmId, undefined, (minute += 1)))
  })

  test.each(['put-1', 'put-2', 'put-4', 'copied', ...chunkSealSteps])(
    'at %s: the point exists if and only if its manifest does, the next one is not kept waiting, and all restore',
    async (dieAt) => {
      const content = randomContent()
      const newId = randomUUID()
      await runDyingWriter(newId, content, dieAt)
      if (dieAt === 'manifest-durable') points.push({ id: newId, content })
      // What a process knew died with it.
      await using repository = await place.made.open({ catalogue: createMemoryPackCatalogue() })
      expect(await whatRestores(repository, points)).toEqual(points.map(({ id }) => id))
      points.push(await takePoint(repository, vmId, points.at(-1), (minute += 1)))
      expect(await whatRestores(repository, points)).toEqual(points.map(({ id }) => id))
    },
  )

  test('what it had stored before it died is not stored again', async () => {
    const content = randomBytes(DISK_BYTES)
    await runDyingWriter(randomUUID(), content, 'packs-durable')
    await using repository = await place.made.open({ catalogue: createMemoryPackCatalogue() })
    const source = createMemoryDisk({ sizeBytes: DISK_BYTES, content })
    const disk = { diskId: 'disk0', sizeBytes: DISK_BYTES, mode: 'full', source } as const
    const { manifest } = await backUp(repository, { vmId, takenAt: instant((minute += 1)), disks: [disk] }, call())
    expect(manifest.disks[0]?.storedBytes).toBe(0)
    points.push({ id: manifest.restorePointId, content })
    expect(await whatRestores(repository, points)).toEqual(points.map(({ id }) => id))
  })

  async function runDyingWriter(id: string, content: Uint8Array, dieAt: string): Promise<void> {
    const contentFile = path.join(root.path, 'content.raw')
    await writeFile(contentFile, content)
    const { made, directory } = place
    const order: DyingChunkWriterOrder = {
      directory,
      ring: made.keys.toBytes().toString('base64'),
      signingKey: exportSigningKey(made.signingKey),
      agentId: made.agentId,
      vmId,
      restorePointId: id,
      parentRestorePointId: points.at(-1)?.id ?? '',
      takenAt: instant((minute += 1)).toISOString(),
      contentFile,
      dieAt,
    }
    const orderFile = path.join(root.path, 'order.json')
    await writeFile(orderFile, JSON.stringify(order), { mode: 0o600 })
    const child = spawn(process.execPath, [script, orderFile], { stdio: ['ignore', 'inherit', 'inherit'] })
    const [exitCode, deathSignal] = await once(child, 'exit', { signal: AbortSignal.timeout(60_000) })
    expect({ exitCode, deathSignal }).toEqual({ exitCode: null, deathSignal: 'SIGKILL' })
  }
})

describe.each([{ keepNames: false }, { keepNames: true }])('a power cut, names kept: $keepNames', ({ keepNames }) => {
  test('all along a backup: what is listed restores byte for byte, and a backup that had ended is listed', async () => {
    const place = await makePlace(`power-${keepNames}`)
    const aside = path.join(root.path, `aside-${keepNames}`)
    await mkdir(aside)
    const vmId = randomUUID()
    const points: Point[] = []
    {
      await using repository = await place.made.open()
      points.push(await takePoint(repository, vmId, undefined, 1))
    }
    /** Takes a point with the power going out before so many calls to the kernel. @returns calls made */
    const takeUntil = async (stopAt: number): Promise<number> => {
      const forgetful = createForgetfulFiles(kernelFiles, aside)
      let calls = 0
      const files = stoppingFiles(forgetful, () => {
        calls += 1
        if (calls > stopAt) throw new Error('the power went')
      })
      const { directory } = place
      const taken = await powered(async () => {
        const store = await openLocalStore({ directory, files, ...call() })
        await using repository = await place.made.open({ store, catalogue: createMemoryPackCatalogue() })
        return await takePoint(repository, vmId, points.at(-1), points.length + 1)
      })
      await forgetful.loseUnsynced({ keepNames })
      await using repository = await place.made.open({ catalogue: createMemoryPackCatalogue() })
      const listed = await Array.fromAsync(repository.listRestorePoints({}, call()))
      // The answer may have been lost with the power when all was done.
      const late = listed.length - points.length
      expect(late === (taken === undefined ? 0 : 1) || (taken === undefined && late === 1)).toBe(true)
      if (taken !== undefined) points.push(taken)
      else if (late === 1) await repository.deleteRestorePoint(listed.at(-1)?.manifest.restorePointId ?? '', call())
      expect(await whatRestores(repository, points)).toEqual(points.map(({ id }) => id))
      return calls
    }
    const allCalls = await takeUntil(Infinity)
    expect(points).toHaveLength(2)
    for (let stop = 1; stop <= STOPS; stop += 1) await takeUntil(Math.floor((stop * allCalls) / STOPS))
  })
})

async function powered<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work()
  } catch {
    return undefined
  }
}

function instant(minute: number): Date {
  return new Date(1_700_000_000_000 + minute * 60_000)
}

/** Mostly zeros, some random units: each point differs from each other. */
function randomContent(): Uint8Array {
  const content = new Uint8Array(DISK_BYTES)
  for (let unit = 0; unit < 4; unit += 1)
    content.set(randomBytes(170_000), ((randomBytes(1)[0] ?? 0) / 256) * 1_800_000)
  return content
}

function call(): CallOptions {
  return { signal: AbortSignal.timeout(120_000) }
}
