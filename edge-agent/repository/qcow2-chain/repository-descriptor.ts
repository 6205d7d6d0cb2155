import { randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Hash256, Instant } from '@sendense/shared/contracts/identifiers.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import { z } from 'zod'
import type { CallOptions } from '../../block/block-source.ts'
import { withRepositoryErrors } from '../repository-errors.ts'
import { syncDirectory, writeDurably } from './durable-file.ts'
import { layerKeyCheck } from './layer-key.ts'
import { DESCRIPTOR_FILE } from './repository-layout.ts'

export const CHUNK_SIZE_DEFAULT_BYTES = 256 * 1024
const CHUNK_SIZE_MIN_BYTES = 64 * 1024
const CHUNK_SIZE_MAX_BYTES = 4 * 1024 * 1024
const FORMAT_NAME = 'sendense-repository'
const FORMAT_VERSION = 1
/** A fresh file system has this of its own. */
const NOT_OURS_BUT_HARMLESS = new Set(['lost+found'])

/** `repo.json`: what a directory says of itself. FORMAT.md, "repo.json". */
export const RepositoryDescriptor = z.strictObject({
  format: z.literal(FORMAT_NAME),
  version: z.literal(FORMAT_VERSION),
  repositoryId: z.uuid(),
  kind: z.literal('qcow2-chain'),
  chunkSizeBytes: z
    .int()
    .min(CHUNK_SIZE_MIN_BYTES)
    .max(CHUNK_SIZE_MAX_BYTES)
    .refine((size) => Number.isInteger(Math.log2(size)), 'a power of two'),
  createdAt: Instant,
  /** Absent: layers are not encrypted. */
  encryption: z.strictObject({ method: z.literal('luks-aes-256-xts'), keyCheck: Hash256 }).optional(),
})
export type RepositoryDescriptor = z.infer<typeof RepositoryDescriptor>

/** Just enough to tell a newer repository from something else. */
const AnyVersion = z.looseObject({ format: z.literal(FORMAT_NAME), version: z.int(), kind: z.string() })

/**
 * What the repository in `dir` is.
 * Rejects with `repository.missing` when there is no such directory, `repository.not_a_repository`,
 * `repository.format_unsupported`, `repository.io_failed`.
 */
export async function readRepositoryDescriptor(dir: string, { signal }: CallOptions): Promise<RepositoryDescriptor> {
  signal.throwIfAborted()
  const names = await namesIn(dir)
  if (names === undefined) throw new PlatformError('repository.missing', `there is no directory ${dir}`)
  if (!names.includes(DESCRIPTOR_FILE)) throw notARepository(dir, `it has no ${DESCRIPTOR_FILE}`, names.length)
  const text = await withRepositoryErrors(
    `reading ${DESCRIPTOR_FILE}`,
    async () => await readFile(join(dir, DESCRIPTOR_FILE), 'utf8'),
  )
  return parseDescriptor(dir, text)
}

export interface NewQcow2Repository {
  /** Made when missing. Must be empty, or hold the repository of this id already. */
  readonly dir: string
  readonly repositoryId: string
  readonly chunkSizeBytes?: number
  /** 32 random bytes: encrypts all layers, and is needed to open them for ever. Absent: they are not encrypted. */
  readonly layerKey?: Uint8Array
  readonly clock?: Clock
}

/**
 * Makes an empty repository; for one that is there already with the same id it does nothing.
 * Rejects with `repository.not_a_repository` when the directory holds something else, `input.invalid`,
 * `repository.no_space`, `repository.io_failed`.
 */
export async function createQcow2Repository(repository: NewQcow2Repository, options: CallOptions): Promise<void> {
  const { dir } = repository
  const descriptor = RepositoryDescriptor.safeParse({
    format: FORMAT_NAME,
    version: FORMAT_VERSION,
    repositoryId: repository.repositoryId,
    kind: 'qcow2-chain',
    chunkSizeBytes: repository.chunkSizeBytes ?? CHUNK_SIZE_DEFAULT_BYTES,
    createdAt: (repository.clock ?? systemClock).now().toISOString(),
    ...encryptionOf(repository),
  })
  if (!descriptor.success) throw new PlatformError('input.invalid', descriptor.error.message)
  await withRepositoryErrors(`making a repository in ${dir}`, async () => {
    await mkdir(dir, { recursive: true, mode: 0o700 })
    const others = ((await namesIn(dir)) ?? []).filter((name) => !isUnfinished(name))
    if (others.length > 0) {
      const found = await readRepositoryDescriptor(dir, options)
      if (found.repositoryId === repository.repositoryId) return
      throw notARepository(dir, `it holds repository ${found.repositoryId} already`, others.length)
    }
    const temporaryPath = join(dir, `.${DESCRIPTOR_FILE}-${randomUUID()}`)
    await writeDurably(join(dir, DESCRIPTOR_FILE), `${JSON.stringify(descriptor.data, null, 2)}\n`, temporaryPath)
    await syncDirectory(dirname(dir))
  })
}

function encryptionOf({ repositoryId, layerKey }: NewQcow2Repository): Pick<RepositoryDescriptor, 'encryption'> {
  if (layerKey === undefined) return {}
  return { encryption: { method: 'luks-aes-256-xts', keyCheck: layerKeyCheck(repositoryId, layerKey) } }
}

function parseDescriptor(dir: string, text: string): RepositoryDescriptor {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new PlatformError('repository.not_a_repository', `${DESCRIPTOR_FILE} in ${dir} is no JSON`, { cause: error })
  }
  const parsed = RepositoryDescriptor.safeParse(json)
  if (parsed.success) return parsed.data
  const other = AnyVersion.safeParse(json)
  if (other.success && (other.data.version > FORMAT_VERSION || other.data.kind !== 'qcow2-chain')) {
    const text2 = `${dir} holds a repository of kind ${other.data.kind}, version ${other.data.version}`
    throw new PlatformError('repository.format_unsupported', text2)
  }
  const reason = `${DESCRIPTOR_FILE} in ${dir} is not as it must be: ${parsed.error.message}`
  throw new PlatformError('repository.not_a_repository', reason, { cause: parsed.error })
}

function isUnfinished(name: string): boolean {
  return name.startsWith(`.${DESCRIPTOR_FILE}-`)
}

async function namesIn(dir: string): Promise<string[] | undefined> {
  try {
    return (await readdir(dir)).filter((name) => !NOT_OURS_BUT_HARMLESS.has(name))
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'ENOENT') return undefined
    if (code === 'ENOTDIR') throw notARepository(dir, 'it is no directory', 0)
    return await withRepositoryErrors(`listing ${dir}`, async () => await Promise.reject(error as Error))
  }
}

function notARepository(dir: string, why: string, entries: number): PlatformError {
  return new PlatformError('repository.not_a_repository', `${dir} is not the repository wanted: ${why}`, {
    details: { dir, entries },
  })
}
