import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, open, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { exportSigningKey, generateSigningKey } from '@sendense/shared/runtime/signing.ts'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createAgentRepository } from '../jobs/chunk-repositories.ts'
import { prepareLocalRepository } from '../jobs/local-repository.ts'
import { parseStoreConfig } from '../object-store/object-store-config.ts'
import { CopiedVm } from '../repository/copy/testing/copied-vm.ts'
import type { Repository } from '../repository/repository.ts'

const main = path.join(import.meta.dirname, 'main.ts')
const logger = createLogger('test', 'silent')
const signingKey = generateSigningKey()
const KIB = 1024

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'sd-'))
  await mkdir(path.join(directory, 'state'))
  await writeFile(path.join(directory, 'state', 'identity.key'), exportSigningKey(signingKey), { mode: 0o600 })
})
afterEach(async () => await rm(directory, { recursive: true, force: true }))

test(
  'all goes to a chunk repository and comes back to another one of chains; a second run finds it there',
  { timeout: 120_000 },
  async () => {
    const vm = new CopiedVm()
    const ids: string[] = []
    {
      await using here = await openLocal('here')
      for (let round = 0; round < 3; round += 1) {
        vm.fill('disk0', round * 200 * KIB, 300 * KIB, round + 1)
        ids.push((await vm.backUp(here)).manifest.restorePointId)
      }
    }
    await (await openLocal('back'))[Symbol.asyncDispose]()
    await makeChunkRepository('offsite')

    const first = await run('--from', dirOf('here'), '--to', 'offsite', '--json')
    expect(first).toMatchObject({ exitCode: 0, stderr: '' })
    const lines = linesOf(first.stdout)
    expect(lines.slice(0, 3).map(({ restorePointId, outcome }) => [restorePointId, outcome])).toEqual(
      ids.map((id) => [id, 'copied']),
    )
    expect(lines[1]).toMatchObject({
      disks: [{ reason: 'INCREMENTAL_COPY' }, { reason: 'INCREMENTAL_COPY', readBytes: 0 }],
    })
    expect(lines[3]).toEqual({ summary: { copied: 3, present: 0, gone: 0, failed: 0 } })
    const again = await run('--from', dirOf('here'), '--to', 'offsite', '--vm', vm.vmId)
    expect(again.stdout).toMatch(/is there\n.*\n.*\n0 copied, 3 were there\n$/)

    const one = await run('--from', 'offsite', '--to', dirOf('back'), '--restore-point', ids[1] ?? '')
    expect(one.stdout).toMatch(/copied: .* read, .* stored\n1 copied, 0 were there\n$/)
    expect((await run('--from', 'offsite', '--to', dirOf('back'))).stdout).toContain('2 copied, 1 were there')
    await using back = await openLocal('back')
    for (const id of ids) expect(await vm.restoresFrom(back, id)).toBe(true)
  },
)

test(
  'what is damaged is named and not copied, and the exit status is 1; the others are',
  { timeout: 120_000 },
  async () => {
    const [good, bad] = [new CopiedVm(), new CopiedVm()]
    const kept = new Map<CopiedVm, string>()
    {
      await using here = await openLocal('here')
      for (const vm of [bad, good]) {
        vm.fill('disk0', 0, 300 * KIB, 1)
        kept.set(vm, (await vm.backUp(here)).manifest.restorePointId)
      }
    }
    await (await openLocal('other'))[Symbol.asyncDispose]()
    await damageLayer(path.join(dirOf('here'), 'layers', bad.vmId, 'disk0'))
    const { exitCode, stdout } = await run('--from', dirOf('here'), '--to', dirOf('other'), '--json')
    expect(exitCode).toBe(1)
    const failed = linesOf(stdout).find(({ outcome }) => outcome === 'failed')
    expect(failed).toMatchObject({
      restorePointId: kept.get(bad),
      error: { code: 'repository.chunk_corrupt', details: { diskId: 'disk0' } },
    })
    await using other = await openLocal('other')
    expect(await good.restoresFrom(other, kept.get(good) ?? '')).toBe(true)
    const points = await Array.fromAsync(other.listRestorePoints({}, { signal: AbortSignal.timeout(20_000) }))
    expect(points).toHaveLength(1)
  },
)

test('mistakes are refused', async () => {
  await (await openLocal('here'))[Symbol.asyncDispose]()
  const mistakes = [
    [['--from', dirOf('here'), '--to', 'nowhere'], /^config.invalid: .*has no repository nowhere/],
    [['--from', dirOf('here'), '--to', dirOf('here')], /^input.invalid: .*to itself/],
    [['--from', dirOf('here')], /required option/],
    [['--from', 'a', '--to', 'b', '--vm', '../x'], /an id, as the lists show it/],
  ] as const
  for (const [args, wanted] of mistakes) {
    const { exitCode, stderr } = await run(...args)
    expect({ args, exitCode, stderr }).toEqual({ args, exitCode: 1, stderr: expect.stringMatching(wanted) })
  }
})

function dirOf(name: string): string {
  return path.join(directory, name)
}

async function openLocal(name: string): Promise<Repository> {
  const entry = await prepareLocalRepository({
    stateDir: path.join(directory, 'state'),
    dir: dirOf(name),
    name,
    runtimeDir: path.join(directory, 'run', 'repositories'),
    signingKey,
    newId: randomUUID,
    clock: systemClock,
    logger,
  })
  return await entry.open({ signal: AbortSignal.timeout(60_000) })
}

async function makeChunkRepository(name: string): Promise<void> {
  await mkdir(dirOf(name))
  const store = parseStoreConfig({ kind: 'directory', directory: dirOf(name) })
  const wanted = { stateDir: path.join(directory, 'state'), name, store, passphrase: 'correct horse battery' }
  await createAgentRepository(
    { ...wanted, newId: randomUUID, clock: systemClock },
    { signal: AbortSignal.timeout(60_000) },
  )
}

/** Changes what the first layer holds, but not its tables. */
async function damageLayer(folder: string): Promise<void> {
  const [name = ''] = await readdir(folder)
  await using file = await open(path.join(folder, name), 'r+')
  const { size } = await file.stat()
  await file.write(Buffer.alloc(4096, 0x5a), 0, 4096, size - 65_536)
}

function linesOf(stdout: string): Record<string, unknown>[] {
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

async function run(...args: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const env = {
    PATH: process.env['PATH'],
    SENDENSE_EDGE_STATE_DIR: path.join(directory, 'state'),
    SENDENSE_EDGE_RUNTIME_DIR: path.join(directory, 'run'),
    SENDENSE_EDGE_DATABASE_SOCKET: '/nowhere',
    SENDENSE_EDGE_MOVER_THREADS: '2',
  }
  return await new Promise((resolve) => {
    execFile(process.execPath, [main, 'repository', 'copy', ...args], { env }, (error, stdout, stderr) => {
      resolve({ exitCode: typeof error?.code === 'number' ? error.code : 0, stdout, stderr })
    })
  })
}
