import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { KvmSourceConnector } from '@sendense/edge-agent/platforms/kvm/kvm-source-connector.ts'
import { KvmTestHost } from '@sendense/edge-agent/platforms/kvm/kvm-test-host.ts'
import type { TrackingToken } from '@sendense/edge-agent/platforms/source-connector.ts'
import { makeTemporaryRepository } from '@sendense/edge-agent/repository/qcow2-chain/temporary-repository.ts'
import { newBackupOf, sealFactsOf } from '@sendense/edge-agent/repository/repository-scenario.ts'
import type { Repository } from '@sendense/edge-agent/repository/repository.ts'
import { median } from '../bench-report.ts'
import { type MoverBench, ROUNDS } from './mover-bench.ts'

const MIB = 1024 ** 2
const GIB = 1024 ** 3
const SIZE_BYTES = 10 * GIB
const DATA_BYTES = 5 * GIB
const CHURN_BYTES = Math.floor(SIZE_BYTES / 100)
/** Evenly scattered: as guests write, and as unkindly as a dirty bitmap can tell apart, where each piece costs a whole chunk. */
const CHURN_PIECES = { 'in pieces of 1 MiB': MIB, 'in pieces of 64 KiB': 64 * 1024 } as const
const CHUNK_BYTES = 256 * 1024
const DISK_ID = 'disk0'

/**
 * A QEMU disk of 10 GiB, half of it data, backed up as the product does it: fleecing session, mover, QCOW2 chain, sealed,
 * committed. One full; then incrementals after nothing changed, and after 1 % of the disk did. Times are those of the
 * whole backup, from the session's opening to its commit.
 */
export async function measureIncremental({ dir, mover, report, signal }: MoverBench): Promise<void> {
  const call = { signal }
  await using host = await KvmTestHost.open()
  const vm = await host.addVm('bench', [{ diskId: DISK_ID, sizeBytes: SIZE_BYTES }])
  await host.start(vm)
  await using connector = new KvmSourceConnector({ hosts: () => [host.local], monitors: host.monitors })
  await using place = await makeTemporaryRepository(call, { dir: join(dir, 'repository'), chunkSizeBytes: CHUNK_BYTES })
  await using repository = await place.open()
  let parent: { readonly id: string; readonly token: TrackingToken } | undefined

  const backUp = async (): Promise<{ readonly seconds: number; readonly readBytes: number }> => {
    const startedMs = performance.now()
    const base = new Map(parent === undefined ? [] : [[DISK_ID, parent.token]])
    const platformRef = vm.config.vmId
    const request = { platformRef, sessionId: randomUUID(), quiesce: false, base, full: false }
    await using session = await connector.openBackup(request, call)
    const [disk] = session.disks
    if (disk?.token === undefined) throw new Error('the disk tracks no changes')
    const { mode, source } = disk
    const isExpected = mode === (parent === undefined ? 'full' : 'incremental')
    if (!isExpected) throw new Error(`the backup is ${mode}, for ${disk.reason}`)
    const parentOf = parent === undefined ? {} : { parentRestorePointId: parent.id }
    const backup = { vmId: platformRef, ...parentOf, disks: [{ diskId: DISK_ID, sizeBytes: SIZE_BYTES, mode, source }] }
    const sealed = await copyAndSeal(repository, backup)
    await session.commit(call)
    parent = { id: sealed.id, token: disk.token }
    return { seconds: (performance.now() - startedMs) / 1000, readBytes: sealed.readBytes }
  }

  async function copyAndSeal(into: Repository, backup: Parameters<typeof newBackupOf>[0]) {
    const asked = newBackupOf(backup)
    await using writer = await into.openBackup(asked, call)
    const [source] = backup.disks
    const disk = writer.disks.get(DISK_ID)
    if (disk === undefined || source === undefined) throw new Error('the writer has no such disk')
    const before = disk.base === undefined ? {} : { base: disk.base }
    const task = { mode: source.mode, source: source.source, sink: disk.sink, chunkIds: disk.chunkIds, ...before }
    const copied = await mover.copyBackup({ ...task, idKey: into.idKey }, call)
    const facts = sealFactsOf(asked, { takenAt: new Date(), copied: new Map([[DISK_ID, copied]]) })
    const { manifest } = await writer.seal(facts, call)
    return { id: manifest.restorePointId, readBytes: copied.readBytes }
  }

  for (let at = 0; at < DATA_BYTES; at += GIB / 2) {
    await host.fill(vm, DISK_ID, { offsetBytes: at * 2, lengthBytes: GIB / 2 }, 1 + at / (GIB / 2))
  }
  const full = await backUp()
  const unchanged: number[] = []
  const changed = new Map<string, number[]>(Object.keys(CHURN_PIECES).map((name) => [name, []]))
  for (let round = 0; round < ROUNDS; round += 1) {
    unchanged.push((await backUp()).seconds)
    for (const [name, pieceBytes] of Object.entries(CHURN_PIECES)) {
      await churn(round, pieceBytes)
      const { seconds, readBytes } = await backUp()
      if (readBytes > 1.2 * CHURN_BYTES) throw new Error(`an incremental of ${CHURN_BYTES} bytes read ${readBytes}`)
      changed.get(name)?.push(seconds)
    }
  }

  async function churn(round: number, pieceBytes: number): Promise<void> {
    const pieces = Math.floor(CHURN_BYTES / pieceBytes)
    const strideBytes = Math.floor(SIZE_BYTES / pieces / pieceBytes) * pieceBytes
    for (let piece = 0; piece < pieces; piece += 1) {
      await host.fill(vm, DISK_ID, { offsetBytes: piece * strideBytes, lengthBytes: pieceBytes }, 100 + round)
    }
  }

  report.measured({ name: 'full of 5 GiB in 10 GiB', seconds: [full.seconds] }, { readMib: full.readBytes / MIB })
  report.measured({ name: 'incremental of nothing', seconds: unchanged })
  const constant = median(unchanged)
  report.figure('incremental_constant_s', constant)
  for (const [name, seconds] of changed) report.measured({ name: `incremental of 1 % ${name}`, seconds })
  const overFull = (name: keyof typeof CHURN_PIECES): number =>
    (median(changed.get(name) ?? []) - constant) / full.seconds
  report.figure('incremental_1pct_over_full', overFull('in pieces of 1 MiB'))
  report.figure('incremental_1pct_scattered_over_full', overFull('in pieces of 64 KiB'))
}
