import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, statSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ownProcessIdentity, type ProcessIdentity } from '../process-identity.ts'
import { listLiveLocks, takeVmLock } from './vm-lock.ts'
import { watchSyncs } from './watch-syncs.ts'

const locked = { code: 'repository.locked' }
const vmId = randomUUID()
let dir: string

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'sd-lock-'))
  await mkdir(join(dir, 'locks'))
})
afterEach(async () => await rm(dir, { recursive: true, force: true }))

test('one holder at a time; given back, the next may take it', async () => {
  const restorePointId = randomUUID()
  {
    await using lock = await takeVmLock(dir, vmId, restorePointId)
    expect(lock.vmId).toBe(vmId)
    await expect(takeVmLock(dir, vmId, randomUUID())).rejects.toMatchObject(locked)
    expect(await listLiveLocks(dir)).toMatchObject([{ vmId, restorePointId }])
    await using other = await takeVmLock(dir, randomUUID(), randomUUID())
    expect(other.vmId).not.toBe(vmId)
  }
  expect(await listLiveLocks(dir)).toEqual([])
  await using again = await takeVmLock(dir, vmId, randomUUID())
  expect(again.vmId).toBe(vmId)
})

test('a lock is durable before it has its name, and its name before it is held', async () => {
  const locksDir = join(dir, 'locks')
  const lockPath = join(locksDir, `${vmId}.lock`)
  const seen: { path: string; sizeBytes: number; named: boolean }[] = []
  {
    using _watch = await watchSyncs((path) => {
      seen.push({ path, sizeBytes: statSync(path).size, named: existsSync(lockPath) })
    })
    await takeVmLock(dir, vmId, randomUUID())
  }
  const { size } = await stat(lockPath)
  expect(seen.some((sync) => dirname(sync.path) === locksDir && sync.sizeBytes === size && !sync.named)).toBe(true)
  expect(seen.at(-1)).toMatchObject({ path: locksDir, named: true })
})

test('of many who want it at once, one gets it', async () => {
  for (const stale of [false, true]) {
    if (stale) await writeLock({ ...(await ownProcessIdentity()), startTicks: '1' })
    const tries = await Promise.allSettled(
      Array.from({ length: 8 }, async () => await takeVmLock(dir, vmId, randomUUID())),
    )
    const winners = tries.filter((entry) => entry.status === 'fulfilled')
    expect(winners.length).toBe(1)
    for (const winner of winners) await winner.value[Symbol.asyncDispose]()
    expect(await readdir(join(dir, 'locks'))).toEqual([])
  }
})

test('a writer that died while it took over is taken over too', async () => {
  const deadHolder = { ...(await ownProcessIdentity()), startTicks: '1' }
  const first = await writeLock(deadHolder)
  const claimant = await writeLock(deadHolder, `.takeover-${first}`)
  await writeLock(deadHolder, `.takeover-${claimant}`)
  const lock = await takeVmLock(dir, vmId, randomUUID())
  await expect(takeVmLock(dir, vmId, randomUUID())).rejects.toMatchObject(locked)
  await lock[Symbol.asyncDispose]()
  expect(await readdir(join(dir, 'locks'))).toEqual([])
})

test.each([
  ['of a process whose number another one has now', async () => ({ ...(await ownProcessIdentity()), startTicks: '1' })],
  ['of an earlier boot', async () => ({ ...(await ownProcessIdentity()), bootId: randomUUID() })],
  ['of a process that ended', async () => ({ ...(await ownProcessIdentity()), pid: await pidOfTheDead() })],
])('a lock %s is taken over', async (_whose, holder) => {
  await writeLock(await holder())
  expect(await listLiveLocks(dir)).toEqual([])
  await using lock = await takeVmLock(dir, vmId, randomUUID())
  expect(lock.vmId).toBe(vmId)
})

test('a lock of another machine is never taken over: nobody here can know', async () => {
  await writeLock({ ...(await ownProcessIdentity()), host: 'elsewhere', machineId: 'other', bootId: randomUUID() })
  await expect(takeVmLock(dir, vmId, randomUUID())).rejects.toMatchObject(locked)
  expect((await listLiveLocks(dir)).length).toBe(1)
})

test('a damaged lock is not guessed about', async () => {
  await writeFile(join(dir, 'locks', `${vmId}.lock`), '{"vers')
  await expect(takeVmLock(dir, vmId, randomUUID())).rejects.toMatchObject({ code: 'repository.io_failed' })
})

test('a lock that somebody else took meanwhile is not given back with ours', async () => {
  const lock = await takeVmLock(dir, vmId, randomUUID())
  await writeLock({ ...(await ownProcessIdentity()), host: 'elsewhere' })
  await lock[Symbol.asyncDispose]()
  expect(await readFile(join(dir, 'locks', `${vmId}.lock`), 'utf8')).toContain('elsewhere')
})

/** @returns its lockId */
async function writeLock(holder: ProcessIdentity, name = `${vmId}.lock`): Promise<string> {
  const content = { version: 1, vmId, restorePointId: randomUUID(), lockId: randomUUID(), holder }
  await writeFile(join(dir, 'locks', name), JSON.stringify(content))
  return content.lockId
}

async function pidOfTheDead(): Promise<number> {
  const child = spawn(process.execPath, ['--eval', ''])
  await once(child, 'exit')
  return child.pid ?? 0
}
