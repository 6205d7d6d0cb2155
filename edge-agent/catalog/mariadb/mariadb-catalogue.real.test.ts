import { randomUUID } from 'node:crypto'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { describePackCatalogue } from '../../repository/chunk-store/index/pack-catalogue.conformance.ts'
import type { PackCatalogue } from '../../repository/chunk-store/index/pack-catalogue.ts'
import { testPack } from '../../repository/chunk-store/index/test-packs.ts'
import { describeCatalogue } from '../catalogue.conformance.ts'
import { createConnectionPool } from './database-connection.ts'
import { type MariadbCatalogue, openMariadbCatalogue } from './mariadb-catalogue.ts'
import { startTestMariadb, type TestMariadb } from './test-mariadb.ts'

const logger = createLogger('test', 'silent')
let server: TestMariadb
beforeAll(async () => {
  server = await startTestMariadb()
})
afterAll(async () => {
  await server?.[Symbol.asyncDispose]()
})

async function open(databaseName: string, signal = AbortSignal.timeout(30_000)): Promise<MariadbCatalogue> {
  return await openMariadbCatalogue({ socketPath: server.socketPath, databaseName, logger, signal })
}

describeCatalogue('MariaDB', async () => await open('conformance'))

test('what was committed is there when the catalogue is opened again', async () => {
  const signal = AbortSignal.timeout(30_000)
  const record = { repositoryId: randomUUID(), name: 'r', kind: 'qcow2-chain', location: 'l' } as const
  {
    await using catalogue = await open('reopened')
    await catalogue.transaction(async (tx) => await tx.repositories.put(record), { signal })
  }
  await using catalogue = await open('reopened')
  expect(await catalogue.transaction(async (tx) => await tx.repositories.list(), { signal })).toEqual([record])
})

test('a transaction waits for a server that is away, and goes on when it is back', async () => {
  const signal = AbortSignal.timeout(60_000)
  await using catalogue = await open('restarted')
  const add = async () =>
    await catalogue.transaction(
      async (tx) => {
        const epoch = (await tx.settings.getNumber('boot-epoch')) + 1
        await tx.settings.setNumber('boot-epoch', epoch)
        return epoch
      },
      { signal },
    )
  expect(await add()).toBe(1)
  await server.stop()
  const waiting = add()
  const late = catalogue.transaction(async (tx) => await tx.vms.list(), { signal: AbortSignal.timeout(300) })
  await expect(late).rejects.toMatchObject({ name: 'TimeoutError' })
  await server.start()
  expect(await waiting).toBe(2)
})

test('a migration that was changed after it had been applied is refused', async () => {
  const name = 'changed_migration'
  await (await open(name))[Symbol.asyncDispose]()
  const pool = createConnectionPool(server.socketPath, name)
  await pool.promise().query('UPDATE schema_migration SET sha256 = REPEAT("0", 64)')
  await pool.promise().end()
  await expect(open(name)).rejects.toMatchObject({ code: 'config.invalid' })
})

test('a migration that was cut off anywhere is finished at the next start, and keeps what is there', async () => {
  const name = 'cut_off_migration'
  const record = { repositoryId: randomUUID(), name: 'r', kind: 'qcow2-chain', location: 'l' } as const
  const signal = AbortSignal.timeout(30_000)
  {
    await using catalogue = await open(name)
    await catalogue.transaction(async (tx) => await tx.repositories.put(record), { signal })
  }
  const pool = createConnectionPool(server.socketPath, name)
  // As after a kill: the last tables and the note that the file was applied are not there.
  await pool.promise().query('DROP TABLE setting')
  await pool.promise().query('DROP TABLE event_outbox')
  await pool.promise().query('DELETE FROM schema_migration')
  await pool.promise().end()
  await using catalogue = await open(name)
  expect(await catalogue.transaction(async (tx) => await tx.repositories.list(), { signal })).toEqual([record])
  expect(await catalogue.transaction(async (tx) => await tx.settings.getNumber('boot-epoch'), { signal })).toBe(0)
})

test('the catalogue of a newer agent is refused', async () => {
  const name = 'newer_agent'
  await (await open(name))[Symbol.asyncDispose]()
  const pool = createConnectionPool(server.socketPath, name)
  await pool.promise().query('INSERT INTO schema_migration (name, sha256) VALUES ("9999-later.sql", "")')
  await pool.promise().end()
  await expect(open(name)).rejects.toMatchObject({ code: 'config.invalid' })
})

test('deleting a VM context takes its disks, jobs, log and restore points along', async () => {
  const signal = AbortSignal.timeout(30_000)
  await using catalogue = await open('cascade')
  const vmId = randomUUID()
  const jobId = randomUUID()
  const repositoryId = randomUUID()
  await catalogue.transaction(
    async (tx) => {
      await tx.vms.put({
        vmId,
        platform: 'kvm',
        platformRef: 'r',
        name: 'n',
        powerState: 'running',
        guestAgent: false,
        memoryBytes: 1,
        cpuCount: 1,
        present: true,
        disks: [{ diskId: 'disk0', sizeBytes: 1, changeTracking: true }],
      })
      await tx.jobs.insert({
        jobId,
        kind: 'backup',
        vmId,
        arguments: { type: 'backup-vm', jobId, vmId, repositoryId, mode: 'auto', quiesce: false },
        state: 'queued',
        revision: 0,
        attempt: 0,
        queuedAt: new Date(),
      })
      await tx.jobs.appendLog(jobId, {
        sequence: 0,
        at: new Date().toISOString(),
        level: 'info',
        step: 's',
        sentence: 's',
      })
    },
    { signal },
  )
  const pool = createConnectionPool(server.socketPath, 'cascade')
  await pool.promise().query('DELETE FROM vm_context WHERE vm_id = ?', [vmId])
  const [rows] = await pool
    .promise()
    .query('SELECT (SELECT COUNT(*) FROM vm_disk) + (SELECT COUNT(*) FROM job) + (SELECT COUNT(*) FROM job_log) AS n')
  await pool.promise().end()
  expect(rows).toEqual([{ n: 0 }])
})

describePackCatalogue('MariaDB', async () => {
  const catalogue = await open('packs')
  return {
    catalogue: catalogue.packs(randomUUID()),
    [Symbol.asyncDispose]: async () => await catalogue[Symbol.asyncDispose](),
  }
})

test('packs of another repository are another’s, and a row that is damaged is none', async () => {
  const signal = AbortSignal.timeout(30_000)
  await using catalogue = await open('packs-of-two')
  const [one, two] = [catalogue.packs(randomUUID()), catalogue.packs(randomUUID())]
  await one.put([testPack(1, [1, 2]), testPack(2, [3])], { signal })
  await two.put([testPack(1, [9])], { signal })
  await two.delete([testPack(2, [3]).packId], { signal })
  const pool = createConnectionPool(server.socketPath, 'packs-of-two')
  await pool.promise().query("UPDATE chunk_pack SET directory = 'xx' WHERE pack_id = ?", [testPack(2, [3]).packId])
  await pool.promise().end()
  const ids = async (packs: PackCatalogue) => {
    return (await Array.fromAsync(packs.list({ signal }))).flat().map(({ directory }) => directory.count)
  }
  expect(await ids(one)).toEqual([2])
  expect(await ids(two)).toEqual([1])
})
