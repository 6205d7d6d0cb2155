import { createHash, randomUUID } from 'node:crypto'
import { generateSigningKey, type SigningKey } from '@sendense/shared/runtime/signing.ts'
import { appendAudit } from '../audit/audit-chain.ts'
import type { Database, SystemTransaction } from '../db/database.ts'
import { agent, agentEvent, command, commandOutbox, enrolmentToken } from '../db/schema/fleet.ts'
import { usageFact } from '../db/schema/ledgers.ts'
import { alert, job, jobLog, repository, restorePoint, verification, vm } from '../db/schema/protection.ts'
import { customer, membership, msp, session, site, userAccount } from '../db/schema/tenancy.ts'
import type { KnownAgent } from '../fleet/agent-directory.ts'
import { hashPassword } from '../identity/password.ts'
import type { Role } from '../identity/permissions.ts'

/** One row of everything a customer can have. */
export interface SeededCustomer {
  readonly mspId: string
  readonly customerId: string
  readonly siteId: string
  readonly agentId: string
  readonly agentKey: SigningKey
  readonly known: KnownAgent
  readonly vmId: string
  readonly repositoryId: string
  readonly restorePointId: string
  /** Of a backup that has ended. */
  readonly jobId: string
  readonly commandId: string
  /** Open. */
  readonly alertId: string
}

export async function seedMsp(database: Database, name: string): Promise<string> {
  const id = randomUUID()
  await database.withSystem('test', (tx) => tx.insert(msp).values({ id, name }))
  return id
}

/** @param beside a customer that gets a second agent with everything, instead of a new customer */
export async function seedCustomer(
  database: Database,
  mspId: string,
  name: string,
  beside?: SeededCustomer,
): Promise<SeededCustomer> {
  const agentKey = generateSigningKey()
  const seeded: SeededCustomer = {
    mspId,
    customerId: beside?.customerId ?? randomUUID(),
    siteId: randomUUID(),
    agentId: randomUUID(),
    agentKey,
    known: { agentId: '', mspId, customerId: '', identityKey: agentKey.publicKey },
    vmId: randomUUID(),
    repositoryId: randomUUID(),
    restorePointId: randomUUID(),
    jobId: randomUUID(),
    commandId: randomUUID(),
    alertId: randomUUID(),
  }
  const { agentId, customerId } = seeded
  await database.withSystem('test', async (tx) => {
    if (beside === undefined) await tx.insert(customer).values({ mspId, id: customerId, name })
    await seedFleet(tx, seeded)
    await seedProtection(tx, seeded)
    await appendAudit(tx, { mspId, customerId, actor: 'test', action: 'test.seeded', details: {}, at: new Date() })
  })
  return { ...seeded, known: { ...seeded.known, agentId, customerId } }
}

async function seedFleet(tx: SystemTransaction, seeded: SeededCustomer): Promise<void> {
  const { mspId, customerId, siteId, agentId, jobId, commandId, alertId } = seeded
  const tenant = { mspId, customerId }
  const now = new Date()
  const later = new Date(now.getTime() + 3_600_000)
  await tx.insert(site).values({ ...tenant, id: siteId, name: 'Site', timeZone: 'UTC' })
  await tx.insert(agent).values({
    ...tenant,
    siteId,
    id: agentId,
    hostname: 'host',
    agentVersion: '0.1.0',
    identityKey: seeded.agentKey.publicKey,
    protocolMin: 1,
    protocolMax: 1,
    certificateExpiresAt: later,
    commandSequence: 1,
  })
  const tokenHash = createHash('sha256').update(agentId).digest('hex')
  await tx
    .insert(enrolmentToken)
    .values({ ...tenant, siteId, id: randomUUID(), tokenHash, createdBy: 'test', expiresAt: later })
  await tx.insert(command).values({
    ...tenant,
    id: commandId,
    agentId,
    sequence: 1,
    type: 'cancel-job',
    class: 'operate',
    body: { type: 'cancel-job', jobId },
    state: 'queued',
    issuedAt: now,
    notBefore: now,
    expiresAt: later,
  })
  await tx.insert(commandOutbox).values({ ...tenant, commandId, agentId, sequence: 1 })
  await tx
    .insert(agentEvent)
    .values({ ...tenant, agentId, sequence: 0, bootEpoch: 1, type: 'alert-raised', at: now, outcome: 'applied' })
  const fact = { factId: randomUUID(), meter: 'restore' as const, resourceId: randomUUID(), amount: 1, at: now }
  await tx.insert(usageFact).values({ ...tenant, agentId, ...fact })
  const error = { code: 'internal.unexpected', message: 'm', advice: 'a', details: { vmId: seeded.vmId } }
  await tx.insert(alert).values({ ...tenant, id: alertId, agentId, severity: 'info', error, raisedAt: now })
}

async function seedProtection(tx: SystemTransaction, seeded: SeededCustomer): Promise<void> {
  const { mspId, customerId, agentId, vmId, repositoryId, restorePointId, jobId } = seeded
  const tenant = { mspId, customerId }
  const now = new Date()
  await tx.insert(vm).values({
    ...tenant,
    id: vmId,
    agentId,
    platform: 'kvm',
    platformRef: vmId,
    name: 'vm',
    powerState: 'running',
    guestAgent: true,
    memoryBytes: 1024,
    cpuCount: 1,
    disks: [{ diskId: 'disk0', sizeBytes: 1024, changeTracking: true }],
    present: true,
    reportedAt: now,
  })
  const place = { name: 'local', kind: 'qcow2-chain' as const, location: '/repository', state: 'ready' as const }
  await tx.insert(repository).values({ ...tenant, id: repositoryId, agentId, ...place, checkedAt: now })
  await tx.insert(restorePoint).values({
    ...tenant,
    id: restorePointId,
    agentId,
    vmId,
    vmName: 'vm',
    repositoryId,
    jobId,
    takenAt: now,
    sealedAt: now,
    consistency: 'crash',
    manifestHash: '0'.repeat(64),
    disks: [],
    storedBytes: 0,
  })
  const proof = { level: 'L2' as const, outcome: 'passed' as const, checkedBytes: 0, summary: 'whole' }
  await tx.insert(verification).values({ ...tenant, restorePointId, at: now, ...proof })
  await tx.insert(job).values({
    ...tenant,
    id: jobId,
    kind: 'backup',
    state: 'succeeded',
    revision: 3,
    agentId,
    vmId,
    vmName: 'vm',
    requestedBy: 'test',
    queuedAt: now,
    endedAt: now,
  })
  const entry = { sequence: 0, at: now, level: 'info' as const, step: 'copy', sentence: 'copied' }
  await tx.insert(jobLog).values({ ...tenant, jobId, ...entry })
}

let hashOfPassword: Promise<string> | undefined

/** A person with a role in an MSP, and a session row. The password is `password`. */
export async function seedPerson(
  database: Database,
  mspId: string,
  options: { role: Role; customers?: readonly string[] },
): Promise<{ userId: string; membershipId: string; email: string; password: string }> {
  const userId = randomUUID()
  const membershipId = randomUUID()
  const email = `${userId}@example.com`
  const password = 'password'
  const passwordHash = await (hashOfPassword ??= hashPassword(password))
  const { role, customers } = options
  const scope = customers === undefined ? 'all' : 'listed'
  await database.withSystem('test', async (tx) => {
    await tx.insert(userAccount).values({ id: userId, email, displayName: 'Person', passwordHash })
    await tx
      .insert(membership)
      .values({ mspId, id: membershipId, userId, role, scope, customerIds: [...(customers ?? [])] })
    await tx.insert(session).values({
      idHash: createHash('sha256').update(userId).digest('hex'),
      userId,
      mspId,
      membershipId,
      expiresAt: new Date(Date.now() + 60_000),
    })
  })
  return { userId, membershipId, email, password }
}
