import assert from 'node:assert/strict'
import fc from 'fast-check'
import { expect } from 'vitest'
import type { Mover } from '../../../mover/mover.ts'
import type { Repository } from '../../repository.ts'
import type { SealedManifest } from '../../restore-point-manifest.ts'
import { call } from '../../scenario-guest.ts'
import { copyMissing } from '../copy-missing.ts'
import { copyRestorePoint } from '../copy-restore-point.ts'
import { isSameRestorePoint } from '../restore-point-origin.ts'
import { CopiedVm, DISKS } from './copied-vm.ts'

const UNIT_BYTES = 32 * 1024

export type CopyStep =
  | {
      readonly kind: 'write'
      readonly vm: number
      readonly disk: string
      readonly unit: number
      readonly units: number
      readonly byte: number
    }
  | { readonly kind: 'back-up'; readonly vm: number; readonly full: boolean; readonly into: 'source' | 'target' }
  | { readonly kind: 'copy-one'; readonly which: number }
  | { readonly kind: 'copy-missing' }
  | { readonly kind: 'delete'; readonly from: 'source' | 'target'; readonly which: number }

/** What may happen to two VMs and two repositories. */
export function anyHistory(stepsMax: number): fc.Arbitrary<readonly CopyStep[]> {
  const vm = fc.nat(1)
  const side = fc.constantFrom('source' as const, 'target' as const)
  const write = fc.record({
    kind: fc.constant('write' as const),
    vm,
    disk: fc.constantFrom(...Object.keys(DISKS)),
    unit: fc.nat(36),
    units: fc.integer({ min: 1, max: 9 }),
    byte: fc.constantFrom(0, 0, 1, 2, 3, 4),
  })
  const backUp = fc.record({
    kind: fc.constant('back-up' as const),
    vm,
    full: fc.constantFrom(false, false, true),
    into: fc.constantFrom('source' as const, 'source' as const, 'source' as const, 'target' as const),
  })
  const copyOne = fc.record({ kind: fc.constant('copy-one' as const), which: fc.nat(30) })
  const remove = fc.record({ kind: fc.constant('delete' as const), from: side, which: fc.nat(30) })
  return fc.array(
    fc.oneof(
      { weight: 6, arbitrary: write },
      { weight: 5, arbitrary: backUp },
      { weight: 1, arbitrary: copyOne },
      { weight: 2, arbitrary: fc.constant({ kind: 'copy-missing' as const }) },
      { weight: 1, arbitrary: remove },
    ),
    { minLength: Math.floor(stepsMax / 2), maxLength: stepsMax },
  )
}

/**
 * Lets a history happen, copies all that is missing, and expects every restore point of the source in the target, byte for
 * byte, a second run to move nothing, and a third one, into `back`, to bring the same back.
 */
export async function runHistory(
  steps: readonly CopyStep[],
  { source, target, back, mover }: { source: Repository; target: Repository; back: Repository; mover: Mover },
): Promise<void> {
  const vms = [new CopiedVm(), new CopiedVm()]
  const sides = { source, target }
  for (const step of steps) {
    switch (step.kind) {
      case 'write':
        vms[step.vm]?.fill(step.disk, step.unit * UNIT_BYTES, step.units * UNIT_BYTES - 100, step.byte)
        break
      case 'back-up':
        await vms[step.vm]?.backUp(sides[step.into], step)
        break
      case 'copy-one':
      case 'delete': {
        const from = step.kind === 'delete' ? sides[step.from] : source
        const points = await listAll(from)
        const point = points[step.which % points.length]
        if (point === undefined) break
        const id = point.manifest.restorePointId
        if (step.kind === 'delete') await from.deleteRestorePoint(id, call())
        else await copyRestorePoint(source, target, id, { mover, ...call() })
        break
      }
      case 'copy-missing':
        await copyMissing(source, target, {}, { mover, ...call() })
        break
      default:
        step satisfies never
    }
  }
  await expectCopied(vms, { source, target, mover })
  await expectCopied(vms, { source: target, target: back, mover })
}

async function expectCopied(
  vms: readonly CopiedVm[],
  { source, target, mover }: { readonly source: Repository; readonly target: Repository; readonly mover: Mover },
): Promise<void> {
  expect(await copyMissing(source, target, {}, { mover, ...call() })).toMatchObject({ failed: 0, gone: 0 })
  const points = await listAll(source)
  const copies = new Map((await listAll(target)).map((copy) => [copy.manifest.restorePointId, copy]))
  for (const point of points) {
    const { restorePointId, vmId, takenAt } = point.manifest
    const copy = copies.get(restorePointId)
    assert(copy !== undefined)
    expect(copy.manifest).toMatchObject({ vmId, takenAt, repositoryId: target.repositoryId })
    expect(isSameRestorePoint(copy, point)).toBe(true)
  }
  for (const vm of vms) {
    for (const { manifest } of copies.values()) {
      if (manifest.vmId === vm.vmId) expect(await vm.restoresFrom(target, manifest.restorePointId)).toBe(true)
    }
  }
  const again = await copyMissing(source, target, {}, { mover, ...call() })
  expect(again).toEqual({ copied: 0, present: points.length, gone: 0, failed: 0 })
}

async function listAll(repository: Repository): Promise<SealedManifest[]> {
  return await Array.fromAsync(repository.listRestorePoints({}, call()))
}
