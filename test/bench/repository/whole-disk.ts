import { rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type RealServer, startNbdkit } from '@sendense/edge-agent/nbd/client/real-nbd-server.ts'
import type { ChunkRepository } from '@sendense/edge-agent/repository/chunk-store/chunk-repository.ts'
import type { CompressionPreset } from '@sendense/edge-agent/repository/chunk-store/format/chunk-compression.ts'
import { type BenchReport, median } from '../bench-report.ts'
import { type Contenders, measureUsage, type Usage } from '../resource-usage.ts'
import { seededBytes } from '../seeded-image.ts'
import type { BackupPeer } from './backup-peer.ts'
import { openBorg } from './borg.ts'
import { writeMixedImage } from './mixed-image.ts'
import { NotedUsages } from './noted-usages.ts'
import { OwnBackups } from './own-backups.ts'
import { createOwnRepository, emptyDirectoryStore } from './own-repository.ts'
import { CHUNK_SIZE_BYTES, type RepositoryBench, ROUNDS } from './repository-bench.ts'
import { openRestic } from './restic.ts'
import { storedBytes } from './stored-bytes.ts'
import { type ImagePiece, openTrackedImage, type TrackedImage } from './tracked-image.ts'

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
export async function measureWholeDisk(bench: RepositoryBench): Promise<void> {
  const { dir, report, signal } = bench
  const call = { signal }
  const image = join(dir, 'disk.img')
  const dataOffsets = await writeMixedImage(image, IMAGE)
  await using tracked = await openTrackedImage(image, dir, call)
  await using source = await startNbdkit(['--readonly', 'file', image])
  const peers = [await openRestic(dir, image), await openBorg(dir, image)]
  for (const { name, version } of peers) report.note({ [name]: version })
  const contest = new WholeDiskContest({ bench, dataOffsets, tracked, source, peers })
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const peer of peers) await contest.fullOf(peer)
    await contest.fullOnly('fast')
    await contest.others(round)
  }
  contest.report()
}

interface WholeDiskParts {
  readonly bench: RepositoryBench
  readonly dataOffsets: readonly number[]
  readonly tracked: TrackedImage
  readonly source: RealServer
  readonly peers: readonly BackupPeer[]
}

class WholeDiskContest {
  readonly #parts: WholeDiskParts
  readonly #usages = new NotedUsages()
  readonly #stored = new Map<string, number[]>()

  constructor(parts: WholeDiskParts) {
    this.#parts = parts
  }

  async fullOf(peer: BackupPeer): Promise<void> {
    await peer.create()
    this.#usages.note(`${peer.name} full`, await peer.backUp())
    await this.#noteStored(peer.name, join(this.#parts.bench.dir, peer.name))
  }

  /** Ours with another compression, in a repository that is removed afterwards. */
  async fullOnly(compression: CompressionPreset): Promise<void> {
    const { bench } = this.#parts
    const directory = join(bench.dir, compression)
    {
      await using repository = await this.#create(directory, compression)
      await this.#full(`sendense ${compression}`, new OwnBackups(repository, bench.mover), directory)
    }
    await rm(directory, { recursive: true })
  }

  /** Our full, and all that comes after a full, of all. */
  async others(round: number): Promise<void> {
    const { bench, peers, tracked, dataOffsets } = this.#parts
    const directory = join(bench.dir, 'own')
    await using repository = await this.#create(directory, 'balanced')
    const own = new OwnBackups(repository, bench.mover)
    await this.#full('sendense', own, directory)
    await tracked.write(churn(round, dataOffsets), bench)
    for (const peer of peers) this.#usages.note(`${peer.name} again`, await peer.backUp())
    await this.#incremental(own)
    await tracked.write(churn(100 + round, dataOffsets), bench)
    const { endpoint } = this.#parts.source
    const compare = async (): Promise<unknown> => await own.backUp(endpoint, 'compare', bench)
    this.#usages.note('sendense compare', await this.#served(compare))
    for (const peer of peers) this.#usages.note(`${peer.name} restore`, await peer.restore(bench.dir))
    this.#usages.note('sendense restore', await this.#restore(own))
    for (const peer of peers) this.#usages.note(`${peer.name} verify`, await peer.verify())
    const verify = async (): Promise<void> => await own.restore(undefined, bench)
    this.#usages.note('sendense verify', await measureUsage(verify, { self: true }))
    for (const peer of peers) this.#usages.note(`${peer.name} delete`, await peer.deleteAndCollect())
  }

  report(): void {
    reportAll({ report: this.#parts.bench.report, usages: this.#usages, stored: this.#stored })
  }

  async #create(directory: string, compression: CompressionPreset): Promise<ChunkRepository> {
    const { bench } = this.#parts
    const storeConfig = await emptyDirectoryStore(directory, bench)
    return await createOwnRepository({ storeConfig, chunkSizeBytes: CHUNK_SIZE_BYTES, compression }, bench)
  }

  async #full(name: string, own: OwnBackups, directory: string): Promise<void> {
    const { bench, source } = this.#parts
    const full = async (): Promise<unknown> => await own.backUp(source.endpoint, 'full', bench)
    this.#usages.note(`${name} full`, await this.#served(full))
    await this.#noteStored(name, directory)
  }

  async #incremental(own: OwnBackups): Promise<void> {
    const { bench, tracked } = this.#parts
    const frozen = await tracked.freeze(bench)
    let readBytes = 0
    const incremental = async (): Promise<void> => {
      readBytes = await own.backUp(frozen, 'incremental', bench)
    }
    this.#usages.note('sendense incremental', await measureUsage(incremental, { self: true }))
    bench.report.note({ case: 'sendense incremental', readMib: readBytes / MIB })
    await tracked.forget(bench)
  }

  /** To a file, as the peers do. */
  async #restore(own: OwnBackups): Promise<Usage> {
    const { bench } = this.#parts
    const file = join(bench.dir, 'own-target.img')
    await writeFile(file, '')
    await truncate(file, IMAGE.sizeBytes)
    await using target = await startNbdkit(['file', file])
    const usage = await measureUsage(async () => await own.restore(target.endpoint, bench), withServer(target))
    await rm(file)
    return usage
  }

  async #served(work: () => Promise<unknown>): Promise<Usage> {
    return await measureUsage(async () => void (await work()), withServer(this.#parts.source))
  }

  async #noteStored(name: string, directory: string): Promise<void> {
    this.#stored.set(name, [...(this.#stored.get(name) ?? []), await storedBytes(directory)])
  }
}

/** Pieces of 64 KiB at random places in the data, half of whose bytes do not compress. */
function* churn(seed: number, dataOffsets: readonly number[]): Generator<ImagePiece> {
  const random = seededBytes(1000 + seed)
  const pieces = Math.floor((IMAGE.dataBytes * CHURN_SHARE) / PIECE_BYTES)
  for (let piece = 0; piece < pieces; piece += 1) {
    const place = random(4).readUInt32LE() % (dataOffsets.length * (MIB / PIECE_BYTES))
    const base = dataOffsets[Math.floor(place / (MIB / PIECE_BYTES))] ?? 0
    const offsetBytes = base + (place % (MIB / PIECE_BYTES)) * PIECE_BYTES
    const bytes = Buffer.alloc(PIECE_BYTES, `${piece} of ${seed}, as a log would say it\n`)
    bytes.set(random(PIECE_BYTES / 2))
    yield { offsetBytes, bytes }
  }
}

interface Measurements {
  readonly report: BenchReport
  readonly usages: NotedUsages
  /** Bytes of a repository after the full, round by round. */
  readonly stored: ReadonlyMap<string, readonly number[]>
}

function reportAll({ report, usages, stored }: Measurements): void {
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

/** restic's over ours, but for bytes: ours over restic's. */
function reportFigures({
  report,
  usages,
  storedOf,
}: Omit<Measurements, 'stored'> & { readonly storedOf: (name: string) => number }): void {
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
