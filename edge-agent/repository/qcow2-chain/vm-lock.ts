import { randomUUID } from 'node:crypto'
import { link, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { z } from 'zod'
import { mayBeAlive, ownProcessIdentity, ProcessIdentity } from '../process-identity.ts'
import { makeDirectoryDurably, syncDirectory } from './durable-file.ts'
import { folders } from './repository-layout.ts'

const VmLockFile = z.strictObject({
  version: z.literal(1),
  vmId: z.uuid(),
  /** What its holder is writing. */
  restorePointId: z.uuid(),
  /** Unique for each time the lock is taken. */
  lockId: z.uuid(),
  holder: ProcessIdentity,
})
type VmLockFile = z.infer<typeof VmLockFile>

/** The right to write restore points of one VM. Disposing gives it back. */
export interface VmLock extends AsyncDisposable {
  readonly vmId: string
}

/**
 * Takes the lock of a VM; that of a dead process is taken over.
 * Rejects with `repository.locked` when its holder lives, or is on another machine.
 */
export async function takeVmLock(dir: string, vmId: string, restorePointId: string): Promise<VmLock> {
  const locksDir = join(dir, folders.locks)
  await makeDirectoryDurably(dir, locksDir)
  const lockId = randomUUID()
  const content: VmLockFile = { version: 1, vmId, restorePointId, lockId, holder: await ownProcessIdentity() }
  const path = join(locksDir, `${vmId}.lock`)
  const ownPath = join(locksDir, `.${lockId}`)
  try {
    await writeNew(ownPath, JSON.stringify(content))
    // link(2) fails where the name is there, and the name never shows a file that is half written, not even after a
    // power cut: the content is durable before it has the name.
    if (!(await linkNew(ownPath, path))) await takeOver({ locksDir, path, ownPath, vmId })
    await syncDirectory(locksDir)
  } finally {
    await rm(ownPath, { force: true })
  }
  return { vmId, [Symbol.asyncDispose]: async () => await releaseVmLock(path, lockId) }
}

/**
 * What live writers are writing now: the restore points and VMs of their locks.
 * Rejects with `repository.io_failed` where a lock cannot be read.
 */
export async function listLiveLocks(dir: string): Promise<readonly { vmId: string; restorePointId: string }[]> {
  const locksDir = join(dir, folders.locks)
  const live: VmLockFile[] = []
  for (const name of await namesIn(locksDir)) {
    if (!name.endsWith('.lock')) continue
    const lock = await readLock(join(locksDir, name))
    if (lock !== undefined && (await mayBeAlive(lock.holder))) live.push(lock)
  }
  return live
}

interface TakeOver {
  readonly locksDir: string
  readonly path: string
  /** The new lock, under a name of its own. */
  readonly ownPath: string
  readonly vmId: string
}

/**
 * Puts our lock in the place of a dead one. Who takes over lock X first claims the name `.takeover-X`, which only one can
 * have; a claimant that died there is itself taken over. The claim is given back after the lock is replaced, so one
 * that comes late finds another lock than it had seen, and gives up.
 */
async function takeOver({ locksDir, path, ownPath, vmId }: TakeOver): Promise<void> {
  const dead: string[] = []
  for (let seen = await readLock(path); seen !== undefined; seen = await readLock(claimPath(locksDir, seen.lockId))) {
    if (await mayBeAlive(seen.holder)) {
      const { pid, host } = seen.holder
      throw locked(vmId, `process ${pid} on ${host} writes restore point ${seen.restorePointId}`)
    }
    dead.push(seen.lockId)
  }
  const last = dead.at(-1)
  if (last === undefined) throw locked(vmId, 'another writer has just ended')
  if (!(await linkNew(ownPath, claimPath(locksDir, last)))) throw locked(vmId, 'another writer was faster')
  const now = await readLock(path)
  if (now === undefined || !dead.includes(now.lockId)) {
    await rm(claimPath(locksDir, last), { force: true })
    throw locked(vmId, 'another writer was faster')
  }
  await link(ownPath, `${ownPath}-new`)
  await rename(`${ownPath}-new`, path)
  for (const lockId of dead) await rm(claimPath(locksDir, lockId), { force: true })
}

function claimPath(locksDir: string, lockId: string): string {
  return join(locksDir, `.takeover-${lockId}`)
}

async function releaseVmLock(path: string, lockId: string): Promise<void> {
  const lock = await readLock(path)
  if (lock?.lockId === lockId) await rm(path, { force: true })
}

/** Undefined where it is gone. A lock is written whole before it has its name: one that cannot be read is damaged. */
async function readLock(path: string): Promise<VmLockFile | undefined> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined
    throw error
  }
  try {
    return VmLockFile.parse(JSON.parse(text))
  } catch (error) {
    throw new PlatformError('repository.io_failed', `the lock ${path} cannot be read; remove it when no agent writes`, {
      cause: error,
    })
  }
}

async function writeNew(path: string, content: string): Promise<void> {
  const file = await open(path, 'wx', 0o600)
  try {
    await file.writeFile(content)
    await file.sync()
  } finally {
    await file.close()
  }
}

async function linkNew(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if (isCode(error, 'EEXIST')) return false
    throw error
  }
}

async function namesIn(dir: string): Promise<string[]> {
  try {
    return await readdir(dir)
  } catch (error) {
    if (isCode(error, 'ENOENT')) return []
    throw error
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}

function locked(vmId: string, why: string): PlatformError {
  return new PlatformError('repository.locked', `VM ${vmId} is being written to this repository: ${why}`, {
    details: { vmId },
  })
}
