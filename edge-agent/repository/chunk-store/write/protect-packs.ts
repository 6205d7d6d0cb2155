import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../../block/block-source.ts'
import type { ObjectImmutability } from '../../../object-store/object-store.ts'
import { runParallel } from '../../../object-store/run-parallel.ts'
import type { ChunkContext } from '../chunk-context.ts'
import { DESCRIPTOR_KEY, packKey, prefixes } from '../format/object-keys.ts'
import type { BackupSession } from './backup-session.ts'
import { protectionOf } from './protection.ts'
import type { ProtectionPeriod } from './put-protected.ts'
import type { Resolution, ResolvedPack } from './resolve-packs.ts'

const LOCKS_AT_ONCE = 16
/** A pack of which a restore point needs less is not kept longer for it: what it needs is copied. */
const LIVE_SHARE_MIN = 0.4

/**
 * Makes every pack of a restore point last as long as what is written now, once a generation; in the same way the keys and
 * the descriptor of the repository, without which it could not be read. Packs that are not worth it are marked as leaving.
 * @returns until when the store itself says that it keeps all of them; undefined where the repository is not protected.
 *   `leaving`: nothing was promised yet, their chunks have to be copied and this asked again.
 * Rejects with `storage.unsupported`, `storage.retention_refused`, `storage.*`.
 */
export async function protectPacks(
  context: ChunkContext,
  session: BackupSession,
  { packs }: Resolution,
  { signal }: CallOptions,
): Promise<Date | 'leaving' | undefined> {
  const period = protectionOf(context.settings, session.packSettings.generation)
  if (period === undefined) return undefined
  const { immutability } = context.store
  if (immutability === undefined) {
    throw new PlatformError('storage.unsupported', `${context.store.description} protects no objects`)
  }
  const locks = new Locks(immutability, period)
  const leaving: string[] = []
  await runParallel(packs.values(), { concurrency: LOCKS_AT_ONCE, signal }, async (pack, call) => {
    if (!(await protectPack({ session, locks, pack }, call))) leaving.push(pack.packId)
  })
  if (leaving.length > 0) {
    for (const packId of leaving) session.leave(packId)
    return 'leaving'
  }
  await locks.protect(DESCRIPTOR_KEY, { signal })
  for await (const page of context.store.list(prefixes.keyFiles, { signal })) {
    for (const { key } of page) await locks.protect(key, { signal })
  }
  return locks.soonest
}

interface PackParts {
  readonly session: BackupSession
  readonly locks: Locks
  readonly pack: ResolvedPack
}

/** Whether the pack lasts as long as it must; not where it has to be left. */
async function protectPack({ session: { index }, locks, pack }: PackParts, call: CallOptions): Promise<boolean> {
  const key = packKey(pack)
  const known = pack.lockedUntil
  if (known !== undefined && locks.isEnough(known)) {
    locks.note(known)
    return true
  }
  const found = await locks.find(key, call)
  if (found === undefined || !locks.isEnough(found)) {
    if (pack.liveShare < LIVE_SHARE_MIN) return false
    await locks.extend(key, call)
  }
  const answered = await locks.find(key, call)
  locks.expectEnough(key, answered)
  if (answered !== undefined) index.noteLock(pack.packId, answered)
  return true
}

/** What the store says of retentions, and the soonest end of all. */
class Locks {
  readonly #immutability: ObjectImmutability
  readonly #period: ProtectionPeriod
  #soonest: Date

  constructor(immutability: ObjectImmutability, period: ProtectionPeriod) {
    this.#immutability = immutability
    this.#period = period
    this.#soonest = period.retainUntil
  }

  get soonest(): Date {
    return this.#soonest
  }

  isEnough(until: Date): boolean {
    return until >= this.#period.retainUntil
  }

  note(until: Date): void {
    if (until < this.#soonest) this.#soonest = until
  }

  async find(key: string, options: CallOptions): Promise<Date | undefined> {
    return (await this.#immutability.findRetention(key, options))?.retainUntil
  }

  async extend(key: string, options: CallOptions): Promise<void> {
    await this.#immutability.setRetention(key, this.#period, options)
  }

  /** Extends where that is needed, and reads back what the store made of it. */
  async protect(key: string, options: CallOptions): Promise<void> {
    const found = await this.find(key, options)
    if (found === undefined || !this.isEnough(found)) await this.extend(key, options)
    this.expectEnough(key, await this.find(key, options))
  }

  expectEnough(key: string, until: Date | undefined): void {
    if (until === undefined || !this.isEnough(until)) {
      const wanted = this.#period.retainUntil.toISOString()
      const text = `${key} was to be retained until ${wanted}; the store says ${until?.toISOString() ?? 'it is not'}`
      throw new PlatformError('storage.retention_refused', text)
    }
    this.note(until)
  }
}
