import { rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type RealServer, startNbdkit } from '@sendense/edge-agent/nbd/client/real-nbd-server.ts'
import type { CompressionPreset } from '@sendense/edge-agent/repository/chunk-store/format/chunk-compression.ts'
import { type BenchReport, median } from '../bench-report.ts'
import { type Contenders, measureUsage, type Usage } from '../resource-usage.ts'
import { seededBytes } from '../seeded-image.ts'
import { openBorg } from './borg.ts'
import { writeMixedImage } from './mixed-image.ts'
import { NotedUsages } from './noted-usages.ts'
import { OwnBackups } from './own-backups.ts'
import { createOwnRepository, emptyDirectoryStore } from './own-repository.ts'
import { CHUNK_SIZE_BYTES, type RepositoryBench, ROUNDS } from './repository-bench.ts'
import { openRestic } from './restic.ts'
import { storedBytes } from './stored-bytes.ts'
import { type ImagePiece, openTrackedImage } from './tracked-image.ts'

const MIB = 1024 ** 2
const GIB = 1024 ** 3
const IMAGE = { sizeBytes: 8 * GIB, dataBytes: 3 * GIB, randomShare: 0.25, seed: 1 }
/** Of the data, in pieces of 64 KiB at random places in it. */
const CHURN_SHARE = 0.02
const PIECE_BYTES = 64 * 1024

/**
 * One disk of 8 GiB with 3 GiB of data: full, 2 % changed, incremental with tracking and by comparison, restore,
 * verification, for restic, borg and our chunk repository, each on the same image in turn.
 */
export async function measureWholeDisk({ dir, mover, report, signal }: RepositoryBench): Promise<void> {
  const call = { signal }
  const image = join(dir, 'disk.img')
  const dataOffsets = await writeMixedImage(image, IMAGE)
  await using tracked = await openTrackedImage(image, dir, call)
  await using source = await startNbdkit(['--readonly', 'file', image])
  const peers = [await openRestic(dir, image), await openBorg(dir, image)]
  for (const { name, version } of peers) report.note({ [name]: version })
  const usages = new NotedUsages()
  const stored = new Map<string, number[]>()
  const noteStored = async (name: string, where: string): Promise<void> => {
    stored.set(name, [...(stored.get(name) ?? []), await storedBytes(where)])
  }

  for (let round = 0; round < ROUNDS; round += 1) {
    for (const peer of peers) {
      await peer.create()
      usages.note(`${peer.name} full`, await peer.backUp())
      await noteStored(peer.name, join(dir, peer.name))
    }
    await fullOnly('fast')
    const directory = join(dir, 'own')
    const storeConfig = await emptyDirectoryStore(directory, call)
    const settings = { chunkSizeBytes: CHUNK_SIZE_BYTES, compression: 'balanced' } as const
    await using repository = await createOwnRepository({ storeConfig, ...settings }, call)
    const own = new OwnBackups(repository, mover)
    usages.note('sendense full', await served(async () => await own.backUp(source.endpoint, 'full', call)))
    await noteStored('sendense', directory)

    await tracked.write(churn(round), call)
    for (const peer of peers) usages.note(`${peer.name} again`, await peer.backUp())
    const frozen = await tracked.freeze(call)
    let readBytes = 0
    const incremental = async (): Promise<void> => {
      readBytes = await own.backUp(frozen, 'incremental', call)
    }
    usages.note('sendense incremental', await measureUsage(incremental, { self: true }))
    report.note({ case: 'sendense incremental', readMib: readBytes / MIB })
    await tracked.forget(call)
    await tracked.write(churn(100 + round), call)
    usages.note('sendense compare', await served(async () => await own.backUp(source.endpoint, 'compare', call)))

    for (const peer of peers) usages.note(`${peer.name} restore`, await peer.restore(dir))
    usages.note('sendense restore', await restore(own))
    for (const peer of peers) usages.note(`${peer.name} verify`, await peer.verify())
    usages.note('sendense verify', await measureUsage(async () => await own.restore(undefined, call), { self: true }))
    for (const peer of peers) usages.note(`${peer.name} delete`, await peer.deleteAndCollect())
  }

  async function fullOnly(compression: CompressionPreset): Promise<void> {
    const directory = join(dir, compression)
    const storeConfig = await emptyDirectoryStore(directory, call)
    {
      await using repository = await createOwnRepository(
        { storeConfig, chunkSizeBytes: CHUNK_SIZE_BYTES, compression },
        call,
      )
      const own = new OwnBackups(repository, mover)
      const name = `sendense ${compression}`
      usages.note(`${name} full`, await served(async () => await own.backUp(source.endpoint, 'full', call)))
      await noteStored(name, directory)
    }
    await rm(directory, { recursive: true })
  }

  /** To a file, as the peers do. */
  async function restore(own: OwnBackups): Promise<Usage> {
    const file = join(dir, 'own-target.img')
    await writeFile(file, '')
    await truncate(file, IMAGE.sizeBytes)
    await using target = await startNbdkit(['file', file])
    const usage = await measureUsage(async () => await own.restore(target.endpoint, call), withServer(target))
    await rm(file)
    return usage
  }

  async function served(work: () => Promise<unknown>): Promise<Usage> {
    return await measureUsage(async () => void (await work()), withServer(source))
  }

  function* churn(seed: number): Generator<ImagePiece> {
    const random = seededBytes(1000 + seed)
    const pieces = Math.floor((IMAGE.dataBytes * CHURN_SHARE) / PIECE_BYTES)
    for (let piece = 0; piece < pieces; piece += 1) {
      const place = random(4).readUInt32LE() % (dataOffsets.length * (MIB / PIECE_BYTES))
      const base = dataOffsets[Math.floor(place / (MIB / PIECE_BYTES))] ?? 0
      const offsetBytes = base + (place % (MIB / PIECE_BYTES)) * PIECE_BYTES
      // Half of it does not compress.
      const bytes = Buffer.alloc(PIECE_BYTES, `${piece} of ${seed}, as a log would say it\n`)
      bytes.set(random(PIECE_BYTES / 2))
      yield { offsetBytes, bytes }
    }
  }

  const cases = usages.names()
  for (const name of cases) {
    const facts = {
      cpuSeconds: Number(usages.median(name, 'cpuSeconds').toFixed(2)),
      peakMib: Math.round(usages.median(name, 'peakBytes') / MIB),
    }
    report.measured({ name, seconds: usages.seconds(name) }, facts)
  }
  const storedOf = (name: string): number => median(stored.get(name) ?? [])
  for (const name of stored.keys()) report.note({ stored: name, mib: Math.round(storedOf(name) / MIB) })
  reportFigures({ report, usages, storedOf })
}

/** This process and the server of a disk. */
function withServer({ process: { pid } }: RealServer): Contenders {
  return { self: true, pids: pid === undefined ? [] : [pid] }
}

interface Measurements {
  readonly report: BenchReport
  readonly usages: NotedUsages
  readonly storedOf: (name: string) => number
}

/** restic's over ours, but for bytes: ours over restic's. */
function reportFigures({ report, usages, storedOf }: Measurements): void {
  report.figure('full_vs_restic', usages.ratio('restic full', 'sendense full'))
  report.figure('full_vs_borg', usages.ratio('borg full', 'sendense full'))
  report.figure('full_cpu_vs_restic', usages.ratio('restic full', 'sendense full', 'cpuSeconds'))
  report.figure('full_bytes_over_restic', storedOf('sendense') / storedOf('restic'))
  report.figure('full_fast_vs_restic', usages.ratio('restic full', 'sendense fast full'))
  report.figure('full_fast_bytes_over_restic', storedOf('sendense fast') / storedOf('restic'))
  report.figure('cpu_s_per_gib', usages.median('sendense full', 'cpuSeconds') / (IMAGE.dataBytes / GIB))
  report.figure('peak_mib', usages.median('sendense full', 'peakBytes') / MIB)
  report.figure('incremental_vs_restic', usages.ratio('restic again', 'sendense incremental'))
  report.figure('compare_vs_restic', usages.ratio('restic again', 'sendense compare'))
  report.figure('restore_vs_restic', usages.ratio('restic restore', 'sendense restore'))
  report.figure('restore_vs_own_full', usages.ratio('sendense full', 'sendense restore'))
  report.figure('verify_vs_restic', usages.ratio('restic verify', 'sendense verify'))
  report.figure('verify_gib_per_s', IMAGE.dataBytes / GIB / usages.median('sendense verify', 'seconds'))
}
