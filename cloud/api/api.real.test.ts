import { randomUUID } from 'node:crypto'
import { PAGE_SIZE_MAX } from '@sendense/shared/contracts/api/protection-api.ts'
import { roles } from '@sendense/shared/contracts/api/session-api.ts'
import { eq } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { job, repository, restorePoint, vm } from '../db/schema/protection.ts'
import { permissionsOf } from '../identity/permissions.ts'
import { createSessionService } from '../identity/session-service.ts'
import { callApi } from '../testing/api-client.ts'
import { seedCustomer, type SeededCustomer, seedMsp, seedPerson } from '../testing/seed-tenant.ts'
import { startTestCloud, type TestCloud } from '../testing/test-cloud.ts'
import { appRouter } from './app-router.ts'
import { accessOf } from './procedure-access.ts'

const procedures = [...accessOf(appRouter)].filter(([, { type }]) => type !== 'subscription')

/** How to call each procedure about one customer; `ids`: it names something that may be another's. */
const inputs: Readonly<Record<string, { of: (target: SeededCustomer) => unknown; ids: boolean }>> = {
  'session.current': { of: () => undefined, ids: false },
  'session.logOut': { of: () => undefined, ids: false },
  'site.list': { of: () => undefined, ids: false },
  'agent.list': { of: () => undefined, ids: false },
  'agent.createEnrolmentToken': { of: ({ siteId }) => ({ siteId }), ids: true },
  'agent.refreshInventory': { of: ({ agentId }) => ({ agentId }), ids: true },
  'vm.list': { of: () => undefined, ids: false },
  'vm.get': { of: ({ vmId }) => ({ vmId }), ids: true },
  'repository.list': { of: () => undefined, ids: false },
  'restorePoint.list': { of: () => ({}), ids: false },
  'restorePoint.get': { of: ({ restorePointId }) => ({ restorePointId }), ids: true },
  'job.list': { of: () => ({}), ids: false },
  'job.get': { of: ({ jobId }) => ({ jobId }), ids: true },
  'job.startBackup': { of: ({ vmId }) => ({ vmId, idempotencyKey: randomUUID() }), ids: true },
  'job.startRestore': {
    of: ({ restorePointId }) => ({ restorePointId, newVmName: `r-${randomUUID()}`, idempotencyKey: randomUUID() }),
    ids: true,
  },
  'job.startVerify': { of: ({ restorePointId }) => ({ restorePointId, idempotencyKey: randomUUID() }), ids: true },
  'job.cancel': { of: ({ jobId }) => ({ jobId }), ids: true },
  'alert.list': { of: () => ({}), ids: false },
  'alert.summary': { of: () => undefined, ids: false },
  'alert.acknowledge': { of: ({ alertId }) => ({ alertIds: [alertId] }), ids: true },
}

let cloud: TestCloud
let own: SeededCustomer
let sibling: SeededCustomer
let stranger: SeededCustomer
let mspId: string

beforeAll(async () => {
  cloud = await startTestCloud()
  const { database } = cloud.postgres
  mspId = await seedMsp(database, 'own')
  own = await seedCustomer(database, mspId, 'own')
  sibling = await seedCustomer(database, mspId, 'sibling')
  stranger = await seedCustomer(database, await seedMsp(database, 'other'), 'stranger')
})
afterAll(async () => {
  await cloud?.[Symbol.asyncDispose]()
})

async function tokenOf(role: (typeof roles)[number], customers?: readonly string[]): Promise<string> {
  const person = await seedPerson(cloud.postgres.database, mspId, {
    role,
    ...(customers === undefined ? {} : { customers }),
  })
  // Not through log-in, which has limits: its own tests are with the server's.
  const sessions = createSessionService(cloud.postgres.database, { secureCookie: false })
  return (await sessions.create({ ...person, mspId })).sessionId
}

const inputOf = (path: string, target: SeededCustomer) => inputs[path]?.of(target)
const call = (path: string, input: unknown, token?: string) =>
  callApi(cloud.origin, path, input, token === undefined ? {} : { token })

test('every procedure is called by these tests, and log-in alone needs no session', () => {
  const paths = procedures.map(([path]) => path)
  expect(paths.filter((path) => path !== 'session.logIn').toSorted()).toEqual(Object.keys(inputs).toSorted())
  expect(procedures.filter(([, { access }]) => access === 'public').map(([path]) => path)).toEqual(['session.logIn'])
})

describe.each(procedures.filter(([path]) => path !== 'session.logIn'))('%s', (path, { access }) => {
  test('without a session is refused', async () => {
    for (const token of [undefined, 'x'.repeat(40)]) {
      const answer = await call(path, inputOf(path, own), token)
      expect({ status: answer.status, code: answer.report?.code }).toEqual({
        status: 401,
        code: 'identity.session_required',
      })
    }
  })

  test('is refused to roles without the permission and to no other', async () => {
    for (const role of roles) {
      const answer = await call(path, inputOf(path, own), await tokenOf(role))
      const permitted = access === 'session' || access === 'public' || permissionsOf[role].has(access)
      expect({ role, refused: answer.report?.code === 'identity.forbidden' }).toEqual({ role, refused: !permitted })
      expect({ role, isUnexpected: answer.status >= 500 }).toEqual({ role, isUnexpected: false })
    }
  })

  test('about another MSP, or a customer outside the scope, answers as if it were not there', async () => {
    for (const target of [stranger, sibling]) {
      const token = await tokenOf('owner', [own.customerId])
      const answer = await call(path, inputOf(path, target), token)
      const text = JSON.stringify(answer.data ?? null)
      expect(answer.status).toBe(inputs[path]?.ids === true ? 404 : 200)
      for (const id of [target.customerId, target.agentId, target.vmId, target.repositoryId, target.alertId])
        expect(text).not.toContain(id)
    }
  })

  test('refuses input that is not of its form', async () => {
    const needsInput = inputOf(path, own) !== undefined
    const answer = await call(path, needsInput ? { nonsense: true } : undefined, await tokenOf('owner'))
    expect(answer.status).toBe(needsInput ? 400 : 200)
    expect(answer.report?.code).toBe(needsInput ? 'input.invalid' : undefined)
  })
})

const system: TestCloud['postgres']['database']['withSystem'] = (reason, work, options) =>
  cloud.postgres.database.withSystem(reason, work, options)

async function customerWithOwner(): Promise<{ target: SeededCustomer; token: string }> {
  const target = await seedCustomer(cloud.postgres.database, mspId, randomUUID())
  return { target, token: await tokenOf('owner') }
}
const backup = (target: SeededCustomer, token: string, more: object = {}) =>
  call('job.startBackup', { vmId: target.vmId, idempotencyKey: randomUUID(), ...more }, token)

const lists: [string, (of: SeededCustomer) => string][] = [
  ['site.list', ({ siteId }) => siteId],
  ['agent.list', ({ agentId }) => agentId],
  ['vm.list', ({ vmId }) => vmId],
  ['repository.list', ({ repositoryId }) => repositoryId],
  ['restorePoint.list', ({ restorePointId }) => restorePointId],
  ['job.list', ({ jobId }) => jobId],
  ['alert.list', ({ alertId }) => alertId],
]

test.each(lists)('%s lists what is the own, and nothing of a sibling or stranger', async (path, idOf) => {
  const { data } = await call(path, inputOf(path, own), await tokenOf('owner', [own.customerId]))
  const text = JSON.stringify(data)
  expect(text).toContain(idOf(own))
  for (const other of [sibling, stranger]) expect(text).not.toContain(idOf(other))
})

test('a cursor of alerts that is none is refused, and one that names nothing leads on from its place', async () => {
  const token = await tokenOf('owner', [own.customerId])
  const list = (cursor: string) => call('alert.list', { cursor, limit: 1 }, token)
  const id = randomUUID()
  for (const cursor of ['', 'x', id, `_${id}`, '2026-01-01T00:00:00.000Z_x', `2026-13-01T00:00:00.000Z_${id}`]) {
    expect({ cursor, code: (await list(cursor)).report?.code }).toEqual({ cursor, code: 'input.invalid' })
  }
  expect((await list(`0000-01-01T00:00:00.000Z_${id}`)).report?.code).toBe('input.invalid')
  expect((await list(`1970-01-01T00:00:00.000Z_${id}`)).data).toEqual({ alerts: [], nextCursor: null })
  expect((await list(`9999-12-31T23:59:59.999Z_${id}`)).data).toMatchObject({ alerts: [{ alertId: own.alertId }] })
})

describe('orders', () => {
  test('the same key makes one job, in a row and at the same moment', async () => {
    const { target, token } = await customerWithOwner()
    const idempotencyKey = randomUUID()
    const answers = await Promise.all([1, 2, 3, 4].map(() => backup(target, token, { idempotencyKey })))
    expect(answers.map((answer) => answer.status)).toEqual([200, 200, 200, 200])
    expect(new Set(answers.map((answer) => (answer.data as { jobId: string }).jobId)).size).toBe(1)
  })

  test('a key that was used for one order is refused for another', async () => {
    const { target, token } = await customerWithOwner()
    const other = await seedCustomer(cloud.postgres.database, mspId, randomUUID(), target)
    const { restorePointId } = target
    const idempotencyKey = randomUUID()
    const first = await call('job.startVerify', { restorePointId, idempotencyKey }, token)
    expect(first.status).toBe(200)
    const codes = [
      await call('job.startVerify', { restorePointId: other.restorePointId, idempotencyKey }, token),
      await call('job.startRestore', { restorePointId, newVmName: 'other', idempotencyKey }, token),
      await backup(target, token, { idempotencyKey }),
    ].map((answer) => answer.report?.code)
    expect(codes).toEqual(['resource.conflict', 'resource.conflict', 'resource.conflict'])
    const again = await call('job.startVerify', { restorePointId, idempotencyKey }, token)
    expect(again.data).toMatchObject({ jobId: (first.data as { jobId: string }).jobId })
  })

  test('of two backups of a VM ordered at the same moment one is refused and named', async () => {
    const { target, token } = await customerWithOwner()
    const answers = await Promise.all([backup(target, token), backup(target, token), backup(target, token)])
    expect(answers.map((answer) => String(answer.status)).toSorted()).toEqual(['200', '409', '409'])
    const started = answers.find((answer) => answer.status === 200)
    const refused = answers.find((answer) => answer.status === 409)
    expect(refused?.report?.code).toBe('job.already_running')
    expect(refused?.report?.details).toEqual({ jobId: (started?.data as { jobId: string } | undefined)?.jobId })
    const restore = { restorePointId: target.restorePointId, newVmName: 'beside', idempotencyKey: randomUUID() }
    expect((await call('job.startRestore', restore, token)).status).toBe(200)
  })

  test('a VM that is gone, a repository that is missing or unknown, and a taken name are named', async () => {
    const { target, token } = await customerWithOwner()
    const refusal = async (path: string, input: object) =>
      (await call(path, { idempotencyKey: randomUUID(), ...input }, token)).report?.code
    const { vmId, restorePointId } = target
    expect(await refusal('job.startBackup', { vmId: randomUUID() })).toBe('resource.not_found')
    expect(await refusal('job.startBackup', { vmId, repositoryId: randomUUID() })).toBe('resource.not_found')
    expect(await refusal('job.startBackup', { vmId, repositoryId: sibling.repositoryId })).toBe('resource.not_found')
    expect(await refusal('job.startRestore', { restorePointId, newVmName: 'vm' })).toBe('target.vm_exists')
    expect(await refusal('job.startRestore', { restorePointId, newVmName: '../vm' })).toBe('input.invalid')
    await system('test', (tx) =>
      tx.update(repository).set({ state: 'missing' }).where(eq(repository.id, target.repositoryId)),
    )
    expect(await refusal('job.startBackup', { vmId })).toBe('repository.missing')
    expect(await refusal('job.startRestore', { restorePointId, newVmName: 'x' })).toBe('repository.missing')
    expect(await refusal('job.startVerify', { restorePointId })).toBe('repository.missing')
    await system('test', (tx) => tx.update(vm).set({ present: false }).where(eq(vm.id, vmId)))
    expect(await refusal('job.startBackup', { vmId })).toBe('source.vm_not_found')
    const jobs = await system('test', (tx) => tx.select().from(job).where(eq(job.vmId, vmId)))
    expect(jobs.length).toBe(1)
  })

  test('jobs and restore points of the same moment are not lost at the edge of a page', async () => {
    const { target, token } = await customerWithOwner()
    const ties = { mspId, customerId: target.customerId, agentId: target.agentId, vmId: target.vmId, vmName: 'vm' }
    const at = new Date('2026-01-01T00:00:00.000Z')
    const ids = Array.from({ length: PAGE_SIZE_MAX + 5 }, () => randomUUID())
    const point = { repositoryId: target.repositoryId, jobId: target.jobId, takenAt: at, sealedAt: at }
    const state = { consistency: 'crash' as const, manifestHash: '0'.repeat(64), disks: [], storedBytes: 0 }
    await system('test', async (tx) => {
      await tx.insert(restorePoint).values(ids.map((id) => ({ ...ties, ...point, ...state, id })))
      const ended = { kind: 'backup' as const, state: 'succeeded' as const, revision: 1, requestedBy: 'agent' }
      await tx.insert(job).values(ids.slice(0, 5).map((id) => ({ ...ties, ...ended, id, queuedAt: at })))
    })
    const points = (await call('restorePoint.list', { vmId: target.vmId }, token)).data as { restorePointId: string }[]
    expect(new Set(points.map((found) => found.restorePointId))).toEqual(new Set([...ids, target.restorePointId]))
    expect(points.length).toBe(ids.length + 1)
    const jobs = (await call('job.list', { vmId: target.vmId, limit: 3 }, token)).data as { jobId: string }[]
    expect(new Set(jobs.map((found) => found.jobId))).toEqual(new Set([...ids.slice(0, 5), target.jobId]))
    expect(jobs.length).toBe(6)
  })

  test('pages of jobs follow each other without gap or repetition', async () => {
    const { target, token } = await customerWithOwner()
    for (let count = 0; count < 5; count += 1) {
      await call('job.startVerify', { restorePointId: target.restorePointId, idempotencyKey: randomUUID() }, token)
    }
    const seen: string[] = []
    let before: string | undefined
    for (let page = 0; page < 4; page += 1) {
      const { data } = await call(
        'job.list',
        { vmId: target.vmId, limit: 2, ...(before === undefined ? {} : { before }) },
        token,
      )
      const jobs = data as { jobId: string; queuedAt: string }[]
      seen.push(...jobs.map((found) => found.jobId))
      before = jobs.at(-1)?.queuedAt
    }
    expect(seen.length).toBe(6)
    expect(new Set(seen).size).toBe(6)
  })
})
