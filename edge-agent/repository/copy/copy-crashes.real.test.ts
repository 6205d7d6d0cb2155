import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createMover } from '../../mover/create-mover.ts'
import { chunkSealSteps } from '../chunk-store/chunk-context.ts'
import { sealSteps } from '../qcow2-chain/chain-context.ts'
import type { Repository } from '../repository.ts'
import type { SealedManifest } from '../restore-point-manifest.ts'
import { call } from '../scenario-guest.ts'
import { copyMissing } from './copy-missing.ts'
import { CopiedVm } from './testing/copied-vm.ts'
import type { DyingCopierOrder } from './testing/dying-copier.ts'
import { makePlace, openPlace, type RepositoryPlace } from './testing/repository-place.ts'

const KIB = 1024
const script = fileURLToPath(new URL('testing/dying-copier.ts', import.meta.url))
const stepsOf = { chain: sealSteps, chunks: chunkSealSteps } as const
/** After these the chunks of a copy are stored: the next one stores none of them again. */
const hasItsPacks: ReadonlySet<string> = new Set(['packs-durable', 'index-durable', 'set-durable'])
const mover = createMover({ threadsMax: 1, memoryBytes: 64 * KIB * KIB })
afterAll(async () => await mover[Symbol.asyncDispose]())

/** The copier is killed at one step after another, over the same repositories: what each death leaves the next one meets. */
describe.each([
  ['chain', 'chunks'],
  ['chunks', 'chain'],
  ['chunks', 'chunks'],
] as const)('a copier from %s to %s that is killed with SIGKILL', (from, to) => {
  const vm = new CopiedVm()
  let root: string
  let source: RepositoryPlace
  let target: RepositoryPlace

  beforeAll(async () => {
    root = await mkdtemp(path.join(tmpdir(), 'sd-'))
    source = await makePlace(from, root, 64 * KIB)
    target = await makePlace(to, root, 128 * KIB)
    await changeAndBackUp()
    await using opened = await openPlace(source)
    await using copies = await openPlace(target)
    await copyMissing(opened, copies, {}, { mover, ...call() })
  })
  afterAll(async () => await rm(root, { recursive: true, force: true }))

  test.each(['opened', 'written', 'copied', ...stepsOf[to]])(
    'at %s: there is a whole copy or none, the others are as they were, and the next copy goes on',
    async (dieAt) => {
      const { manifest } = await changeAndBackUp()
      const { restorePointId } = manifest
      const isSealed = dieAt === stepsOf[to].at(-1)
      const before = await idsInTarget()
      await runDyingCopier({ source, target, restorePointId, dieAt })
      expect(await idsInTarget()).toEqual(isSealed ? [...before, restorePointId] : before)
      await using opened = await openPlace(source)
      await using copies = await openPlace(target)
      const expected = isSealed ? { copied: 0, present: before.length + 1 } : { copied: 1, present: before.length }
      expect(await copyMissing(opened, copies, {}, { mover, ...call() })).toMatchObject({ ...expected, failed: 0 })
      const isStored = hasItsPacks.has(dieAt)
      expect((await storedBytesOf(copies, restorePointId)) === 0).toBe(isStored)
      for (const id of vm.models.keys()) expect(await vm.restoresFrom(copies, id)).toBe(true)
    },
  )

  async function changeAndBackUp(): Promise<SealedManifest> {
    const [unit = 0, byte = 0] = randomBytes(2)
    for (let at = 0; at < 6; at += 1) vm.fill('disk0', ((unit + at * 3) % 16) * 64 * KIB, 50 * KIB, (byte + at) % 255)
    vm.fill('disk1', (unit % 8) * 64 * KIB, 100 * KIB, byte)
    await using repository = await openPlace(source)
    return await vm.backUp(repository)
  }

  async function idsInTarget(): Promise<string[]> {
    await using copies = await openPlace(target)
    const points = await Array.fromAsync(copies.listRestorePoints({}, call()))
    return points.map(({ manifest }) => manifest.restorePointId)
  }

  async function runDyingCopier(order: DyingCopierOrder): Promise<void> {
    const orderFile = path.join(root, 'order.json')
    await writeFile(orderFile, JSON.stringify(order), { mode: 0o600 })
    const child = spawn(process.execPath, [script, orderFile], { stdio: ['ignore', 'inherit', 'inherit'] })
    const [exitCode, deathSignal] = await once(child, 'exit', { signal: AbortSignal.timeout(60_000) })
    expect({ exitCode, deathSignal }).toEqual({ exitCode: null, deathSignal: 'SIGKILL' })
  }
})

async function storedBytesOf(repository: Repository, restorePointId: string): Promise<number> {
  const { manifest } = await repository.getRestorePoint(restorePointId, call())
  return manifest.disks.reduce((sum, { storedBytes }) => sum + storedBytes, 0)
}
