import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { CallOptions } from '../../block/block-source.ts'
import { createMemoryDisk, type MemoryDisk } from '../../block/memory-disk.ts'
import { backUp, restoreAll } from '../repository-scenario.ts'
import type { Repository } from '../repository.ts'
import type { RestorePointManifest } from '../restore-point-manifest.ts'
import { folders } from './repository-layout.ts'

/** A restore point, and what its disks must read as. */
export interface ScenePoint {
  readonly manifest: RestorePointManifest
  readonly models: ReadonlyMap<string, Uint8Array>
}

/** For tests: a VM with disks in memory whose restore points are remembered byte for byte. */
export class ChainScene {
  readonly vmId = randomUUID()
  readonly disks: ReadonlyMap<string, MemoryDisk>
  points: ScenePoint[] = []
  #taken = 0

  constructor(sizesBytes: Readonly<Record<string, number>>) {
    this.disks = new Map(
      Object.entries(sizesBytes).map(([diskId, sizeBytes]) => [diskId, createMemoryDisk({ sizeBytes })]),
    )
  }

  /** Backs up by comparison with `parent`, or in full without one. */
  async take(
    repository: Repository,
    parent: ScenePoint | undefined = this.points.at(-1),
    call: CallOptions = deadline(),
  ): Promise<ScenePoint> {
    this.#taken += 1
    const mode = parent === undefined ? ('full' as const) : ('compare' as const)
    const base = parent === undefined ? {} : { parentRestorePointId: parent.manifest.restorePointId }
    const disks = [...this.disks].map(([diskId, disk]) => ({
      diskId,
      sizeBytes: disk.sizeBytes,
      mode,
      source: disk.freeze(),
    }))
    const takenAt = new Date(1_700_000_000_000 + this.#taken * 60_000)
    const { manifest } = await backUp(repository, { vmId: this.vmId, takenAt, ...base, disks }, call)
    const models = new Map([...this.disks].map(([diskId, disk]) => [diskId, disk.bytes.slice()]))
    const point = { manifest, models }
    this.points.push(point)
    return point
  }

  async delete(repository: Repository, point: ScenePoint): Promise<void> {
    await repository.deleteRestorePoint(point.manifest.restorePointId, deadline())
    this.points = this.points.filter((each) => each !== point)
  }

  /** Exactly these points exist, and each restores byte for byte. */
  async expectRestorable(repository: Repository, points: readonly ScenePoint[] = this.points): Promise<void> {
    const listed = await Array.fromAsync(repository.listRestorePoints({}, deadline()))
    assert.deepEqual(
      listed.map(({ manifest }) => manifest),
      points.map(({ manifest }) => manifest),
    )
    for (const { manifest, models } of points) {
      const restored = await restoreAll(repository, manifest.restorePointId, deadline())
      for (const [diskId, model] of models) {
        assert.equal(Buffer.compare(restored.get(diskId) ?? new Uint8Array(), model), 0, `${diskId} is not as it was`)
      }
    }
  }

  /** File names of a disk's layers. */
  async layerNames(dir: string, diskId = 'disk0'): Promise<string[]> {
    return await readdir(join(dir, folders.layers, this.vmId, diskId)).catch(() => [])
  }
}

/** For tests: remembers files of a repository and finds those that were changed in place. */
export class SealedFiles {
  readonly #dir: string
  readonly #seen = new Map<string, Buffer>()

  constructor(dir: string) {
    this.#dir = dir
  }

  /** Every file that is still there is as it was when it was first seen. */
  async expectUnchanged(): Promise<void> {
    for (const folder of [folders.layers, folders.manifests, folders.placements, folders.pages]) {
      const entries = await readdir(join(this.#dir, folder), { recursive: true, withFileTypes: true }).catch(() => [])
      for (const entry of entries.filter((each) => each.isFile())) {
        const path = join(entry.parentPath, entry.name)
        const content = await readFile(path)
        const before = this.#seen.get(path)
        if (before === undefined) this.#seen.set(path, content)
        else assert.equal(Buffer.compare(before, content), 0, `${path} was changed`)
      }
    }
  }
}

export function deadline(): CallOptions {
  return { signal: AbortSignal.timeout(60_000) }
}
