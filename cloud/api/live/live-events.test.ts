import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { permissionsOf } from '../../identity/permissions.ts'
import type { ActiveSession } from '../../identity/session-service.ts'
import { maySee } from './live-events.ts'

test('a stream goes on only for the tenant and the customers that it was opened for', () => {
  const mspId = randomUUID()
  const customers = [randomUUID(), randomUUID()]
  const opened: ActiveSession = {
    sessionId: 's',
    expiresAt: new Date(),
    userId: randomUUID(),
    email: 'owner@example.com',
    displayName: 'Owner',
    mspId,
    mspName: 'msp',
    role: 'owner',
    permissions: permissionsOf.owner,
    tenant: { mspId, customers },
    prolonged: false,
  }
  expect(maySee({ ...opened, tenant: { mspId, customers: [...customers] }, prolonged: true }, opened)).toBe(true)
  expect(maySee(undefined, opened)).toBe(false)
  expect(maySee({ ...opened, permissions: new Set() }, opened)).toBe(false)
  expect(maySee({ ...opened, tenant: { mspId, customers: customers.slice(1) } }, opened)).toBe(false)
  expect(maySee({ ...opened, tenant: { mspId, customers: 'all' } }, opened)).toBe(false)
  expect(maySee({ ...opened, tenant: { mspId: randomUUID(), customers } }, opened)).toBe(false)
})
