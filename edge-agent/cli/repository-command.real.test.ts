import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { exportSigningKey, generateSigningKey } from '@sendense/shared/runtime/signing.ts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { adoptRestorePoints } from '../backup/adopt-restore-points.ts'
import { createMemoryDisk } from '../block/memory-disk.ts'
import { openMariadbCatalogue } from '../catalog/mariadb/mariadb-catalogue.ts'
import { startTestMariadb, type TestMariadb } from '../catalog/mariadb/test-mariadb.ts'
import { prepareLocalRepository } from '../jobs/local-repository.ts'
import { backUp, restoreAll } from '../repository/repository-scenario.ts'

const main = path.join(import.meta.dirname, 'main.ts')
const logger = createLogger('test', 'silent')
const signingKey = generateSigningKey()
const signal = AbortSignal.timeout(120_000)

let database: TestMariadb
let directory: string
beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'sd-'))
  database = await startTestMariadb()
})
afterAll(async () => {
  await database?.[Symbol.asyncDispose]()
  await rm(directory, { recursive: true, force: true })
})

test('points are listed, previewed, pruned, held, released and deleted; those that stay restore, and the cloud is told', async () => {
  await using catalogue = await openCatalogue()
  await using repository = await openRepository()
  const { repositoryId } = repository
  const record = { repositoryId, name: 'here', kind: 'qcow2-chain', location: 'there' } as const
  await catalogue.transaction(async (tx) => await tx.repositories.put(record), { signal })
  const vmId = randomUUID()
  const ids: string[] = []
  for (const fill of [1, 2, 3, 4]) {
    const source = createMemoryDisk({ sizeBytes: 65_536, content: new Uint8Array(65_536).fill(fill) })
    const parent = ids.at(-1)
    const mode = parent === undefined ? ('full' as const) : ('compare' as const)
    const disks = [{ diskId: 'disk0', sizeBytes: 65_536, mode, source }]
    const base = parent === undefined ? {} : { parentRestorePointId: parent }
    const takenAt = new Date(1_700_000_000_000 + fill * 60_000)
    ids.push((await backUp(repository, { vmId, takenAt, ...base, disks }, { signal })).manifest.restorePointId)
  }
  await adoptRestorePoints({ catalogue, repository, signal })
  const [first = '', second = '', third = '', fourth = ''] = ids
  const listedIds = async () =>
    JSON.parse((await run('list', '--json')).stdout).map((point: { restorePointId: string }) => point.restorePointId)
  expect(await listedIds()).toEqual(ids)

  expect(await run('hold', first, '--reason', 'case 17')).toMatchObject({ exitCode: 0 })
  expect((await run('list')).stdout).toContain('held: case 17')
  const keepOne = ['prune', '--keep-last', '1', '--zone', 'Europe/Berlin']
  const preview = await run(...keepOne, '--dry-run')
  expect(preview).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('would be deleted') })
  expect(await listedIds()).toEqual(ids)
  const pruned = await run(...keepOne, '--yes', '--json')
  expect(pruned.exitCode).toBe(0)
  expect(JSON.parse(pruned.stdout)).toMatchObject([
    {
      vmId,
      points: [
        { restorePointId: fourth, keep: true, deleted: false },
        { restorePointId: third, keep: false, deleted: true },
        { restorePointId: second, keep: false, deleted: true },
        { restorePointId: first, keep: true, reasons: [{ code: 'held', why: 'case 17' }] },
      ],
    },
  ])
  expect(await listedIds()).toEqual([first, fourth])
  expect(await run('delete', first)).toMatchObject({
    exitCode: 1,
    stderr: expect.stringMatching(/^repository\.restore_point_held: /),
  })
  await run('release', first)
  expect(await run('delete', first, '--json')).toMatchObject({
    exitCode: 0,
    stdout: `${JSON.stringify({ deleted: first })}\n`,
  })
  const restored = await restoreAll(repository, fourth, { signal })
  expect(restored.get('disk0')).toEqual(new Uint8Array(65_536).fill(4))

  const events = await catalogue.transaction(async (tx) => await tx.outbox.list({ after: 0, limit: 1000 }), { signal })
  const told = events.flatMap(({ event }) => (event.type === 'restore-point-deleted' ? [event.restorePointId] : []))
  expect(told).toEqual([second, third, first])
})

test('wrong use is refused with exit code 1, and deletes nothing', async () => {
  await using _catalogue = await openCatalogue()
  await using _repository = await openRepository()
  const mistakes = [
    [['prune', '--keep-last', '1'], /^input.invalid: .*--dry-run or --yes/],
    [['prune', '--keep-last', '1', '--yes', '--dry-run'], /^input.invalid: .*--dry-run or --yes/],
    [['prune', '--yes'], /^input.invalid: .*must keep something/s],
    [['prune', '--keep-daily', '3', '--zone', 'Mars', '--dry-run'], /^input.invalid: .*time zone/s],
    [['prune', '--keep-last', 'x', '--yes'], /a number from 0/],
    [['delete', '../x'], /an id, as the lists show it/],
    [['delete', randomUUID()], /^repository.restore_point_not_found: /],
    [['hold', randomUUID(), '--reason', 'x'], /^repository.restore_point_not_found: /],
  ] as const
  for (const [args, wanted] of mistakes) {
    const { exitCode, stderr } = await run(...args)
    expect({ args, exitCode, stderr }).toEqual({ args, exitCode: 1, stderr: expect.stringMatching(wanted) })
  }
})

async function openCatalogue() {
  const { socketPath } = database
  return await openMariadbCatalogue({ socketPath, databaseName: 'sendense_edge', logger, signal })
}

/** The agent's own, with its identity where the command looks for it. */
async function openRepository() {
  const stateDir = path.join(directory, 'state')
  const entry = await prepareLocalRepository({
    stateDir,
    dir: path.join(directory, 'repository'),
    name: 'here',
    runtimeDir: path.join(directory, 'run', 'repositories'),
    signingKey,
    newId: randomUUID,
    clock: systemClock,
    logger,
  })
  await writeFile(path.join(stateDir, 'identity.key'), exportSigningKey(signingKey), { mode: 0o600 })
  return await entry.open({ signal })
}

async function run(...args: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const env = {
    PATH: process.env['PATH'],
    SENDENSE_EDGE_STATE_DIR: path.join(directory, 'state'),
    SENDENSE_EDGE_RUNTIME_DIR: path.join(directory, 'run'),
    SENDENSE_EDGE_DATABASE_SOCKET: database.socketPath,
    SENDENSE_EDGE_REPOSITORY_DIR: path.join(directory, 'repository'),
  }
  return await new Promise((resolve) => {
    execFile(process.execPath, [main, 'repository', ...args], { env }, (error, stdout, stderr) => {
      resolve({ exitCode: typeof error?.code === 'number' ? error.code : 0, stdout, stderr })
    })
  })
}
