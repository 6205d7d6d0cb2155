import { spawn } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { exportSigningKey } from '@sendense/shared/runtime/signing.ts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { CallOptions } from '../../block/block-source.ts'
import { createMemoryDisk } from '../../block/memory-disk.ts'
import { backUp, restoreAll } from '../repository-scenario.ts'
import type { Repository } from '../repository.ts'
import { sealSteps } from './chain-context.ts'
import type { DyingWriterOrder } from './dying-writer.ts'
import { folders } from './repository-layout.ts'
import { makeTemporaryRepository, type TemporaryRepository } from './temporary-repository.ts'

const DISK_BYTES = 2 * 1024 * 1024
const script = fileURLToPath(new URL('dying-writer.ts', import.meta.url))

/** The writer is killed at one step after another, in one repository: what each death leaves the next one meets. */
describe('a writer killed with SIGKILL while it seals', () => {
  const vmId = randomUUID()
  const points: { id: string; content: Uint8Array }[] = []
  let place: TemporaryRepository
  let minute = 0

  beforeAll(async () => {
    place = await makeTemporaryRepository(call())
    await using repository = await place.open()
    await takePoint(repository, 'full')
    await takePoint(repository, 'compare')
  })
  afterAll(async () => await place[Symbol.asyncDispose]())

  test.each(['copied', ...sealSteps] as const)(
    'at %s: the point exists if and only if its manifest does, and all others restore byte for byte',
    async (dieAt) => {
      const id = randomUUID()
      const content = randomContent()
      await runDyingWriter(id, content, dieAt)
      if (dieAt === 'manifest-durable') points.push({ id, content })

      await using repository = await place.open()
      const listed = await Array.fromAsync(repository.listRestorePoints({}, call()))
      expect(listed.map((sealed) => sealed.manifest.restorePointId)).toEqual(points.map((point) => point.id))
      await expectAllRestore(repository)
      await expectNoLeftovers(repository)
      await takePoint(repository, points.length % 4 === 0 ? 'full' : 'compare')
      await expectAllRestore(repository)
    },
  )

  async function takePoint(repository: Repository, mode: 'full' | 'compare'): Promise<void> {
    const content = randomContent()
    const source = createMemoryDisk({ sizeBytes: DISK_BYTES, content })
    const parent = points.at(-1)
    const base = mode === 'full' || parent === undefined ? {} : { parentRestorePointId: parent.id }
    const disk = { diskId: 'disk0', sizeBytes: DISK_BYTES, mode, source }
    const { manifest } = await backUp(repository, { vmId, takenAt: nextInstant(), ...base, disks: [disk] }, call())
    points.push({ id: manifest.restorePointId, content })
  }

  async function runDyingWriter(id: string, content: Uint8Array, dieAt: DyingWriterOrder['dieAt']): Promise<void> {
    const root = join(place.dir, '..')
    const contentFile = join(root, 'content.raw')
    await writeFile(contentFile, content)
    const { dir, expectedRepositoryId, runtimeDir, idKey, signingKey } = place.options
    const order: DyingWriterOrder = {
      dir,
      repositoryId: expectedRepositoryId,
      runtimeDir,
      idKey: Buffer.from(idKey).toString('base64'),
      signingKey: exportSigningKey(signingKey),
      vmId,
      restorePointId: id,
      parentRestorePointId: points.at(-1)?.id ?? '',
      takenAt: nextInstant().toISOString(),
      contentFile,
      dieAt,
    }
    const orderFile = join(root, 'order.json')
    await writeFile(orderFile, JSON.stringify(order), { mode: 0o600 })
    const child = spawn(process.execPath, [script, orderFile], { stdio: ['ignore', 'inherit', 'inherit'] })
    const [exitCode, deathSignal] = await once(child, 'exit', { signal: AbortSignal.timeout(60_000) })
    expect({ exitCode, deathSignal }).toEqual({ exitCode: null, deathSignal: 'SIGKILL' })
    expect(await daemonsHolding(dir)).toEqual([])
  }

  async function expectAllRestore(repository: Repository): Promise<void> {
    for (const point of points) {
      const restored = await restoreAll(repository, point.id, call())
      expect(Buffer.compare(restored.get('disk0') ?? new Uint8Array(), point.content)).toBe(0)
    }
  }

  async function expectNoLeftovers(repository: Repository): Promise<void> {
    const layers = new Set<string>()
    for await (const { manifest } of repository.listRestorePoints({}, call())) {
      for (const disk of manifest.disks) for (const layer of disk.layers ?? []) layers.add(layer)
    }
    const names = await readdir(join(place.dir, folders.layers, vmId, 'disk0'))
    const found = names.map((name) => `${folders.layers}/${vmId}/disk0/${name}`)
    expect(found.toSorted()).toEqual([...layers].toSorted())
    expect(await readdir(join(place.dir, folders.partial))).toEqual([])
  }

  function nextInstant(): Date {
    minute += 1
    return new Date(1_700_000_000_000 + minute * 60_000)
  }
})

/** Mostly zeros, some random units: each point differs from each other. */
function randomContent(): Uint8Array {
  const content = new Uint8Array(DISK_BYTES)
  for (let unit = 0; unit < 4; unit += 1) content.set(randomBytes(70_000), ((randomBytes(1)[0] ?? 0) / 256) * 1_900_000)
  return content
}

/** Storage daemons that still have files of this repository on their command line. The kernel ends them with their parent. */
async function daemonsHolding(dir: string): Promise<string[]> {
  const deadline = Date.now() + 10_000
  for (;;) {
    const holding: string[] = []
    for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
      const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
      if (commandLine.startsWith('qemu-storage-daemon') && commandLine.includes(dir)) holding.push(pid)
    }
    if (holding.length === 0 || Date.now() > deadline) return holding
  }
}

function call(): CallOptions {
  return { signal: AbortSignal.timeout(60_000) }
}
