import type { AlertView } from '@sendense/shared/contracts/api/alert-api.ts'

/** An open critical alert for tests; `fields` replace what matters to one. */
export function createAlertView(fields: Partial<AlertView> = {}): AlertView {
  return {
    alertId: '11111111-1111-4111-8111-111111111111',
    severity: 'critical',
    agentId: '33333333-3333-4333-8333-333333333333',
    hostname: 'edge-1',
    siteId: '44444444-4444-4444-8444-444444444444',
    siteName: 'Demo site',
    customerId: '55555555-5555-4555-8555-555555555555',
    customerName: 'Demo customer',
    vm: null,
    error: { code: 'command.replayed', message: 'command 7 has number 1 after 9', advice: 'call me', details: {} },
    raisedAt: '2026-11-23T10:00:00.000Z',
    acknowledged: null,
    ...fields,
  }
}
