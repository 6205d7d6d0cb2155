import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type BufferLease, BufferPool } from './buffer-pool.ts'

const LIMIT_BYTES = 64 * 1024

describe('BufferPool', () => {
  test('never lends more than its limit, lends no byte twice, and serves whoever waits in order', () => {
    const anyStep = fc.oneof(
      fc.record({ kind: fc.constant('ask' as const), lengthBytes: fc.integer({ min: 1, max: LIMIT_BYTES }) }),
      fc.record({ kind: fc.constant('release' as const), which: fc.nat(100) }),
      fc.record({ kind: fc.constant('cancel' as const), which: fc.nat(100) }),
    )
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 80 }), (steps) => {
        const pool = new BufferPool(LIMIT_BYTES)
        const held: { lease: BufferLease; mark: number }[] = []
        const waiting: { ticket: number; cancel: () => void }[] = []
        const granted: number[] = []
        const violations: string[] = []
        let tickets = 0
        const keep = (lease: BufferLease): void => {
          const mark = 1 + (tickets % 250)
          lease.bytes.fill(mark)
          held.push({ lease, mark })
        }
        for (const step of steps) {
          if (step.kind === 'ask') {
            tickets += 1
            const ticket = tickets
            const place = { ticket, cancel: () => undefined as void }
            waiting.push(place)
            place.cancel = pool.waitForLease(step.lengthBytes, (lease) => {
              if (lease.bytes.length !== step.lengthBytes) violations.push('another length than asked for')
              granted.push(ticket)
              waiting.splice(waiting.indexOf(place), 1)
              keep(lease)
            })
          } else if (step.kind === 'release' && held.length > 0) {
            const [one] = held.splice(step.which % held.length, 1)
            if (one?.lease.bytes.some((byte) => byte !== one.mark) === true) violations.push('a byte lent twice')
            one?.lease.release()
          } else if (step.kind === 'cancel' && waiting.length > 0) {
            const [place] = waiting.splice(step.which % waiting.length, 1)
            place?.cancel()
          }
          const heldBytes = held.reduce((sum, { lease }) => sum + lease.sizeBytes, 0)
          expect(pool.leasedBytes).toBe(heldBytes)
          expect(heldBytes).toBeLessThanOrEqual(LIMIT_BYTES)
        }
        expect(violations).toEqual([])
        expect(granted).toEqual([...granted].toSorted((left, right) => left - right))
        for (const { lease } of held) lease.release()
        expect(waiting.length === 0 || pool.leasedBytes > 0).toBe(true)
      }),
    )
  })

  test('nobody overtakes who waits, though there were room for him', () => {
    const pool = new BufferPool(LIMIT_BYTES)
    const first = pool.tryLease(LIMIT_BYTES / 2)
    const leases: BufferLease[] = []
    const cancel = pool.waitForLease(LIMIT_BYTES, (lease) => leases.push(lease))
    expect(pool.tryLease(1)).toBeUndefined()
    first?.release()
    expect(leases).toHaveLength(1)
    cancel()
    leases[0]?.release()
    expect(pool.tryLease(1)).toBeDefined()
  })

  test('a buffer just released is lent again', () => {
    const pool = new BufferPool(LIMIT_BYTES)
    const lease = pool.tryLease(5000)
    const { buffer } = lease?.bytes ?? {}
    lease?.release()
    expect(pool.tryLease(8000)?.bytes.buffer).toBe(buffer)
  })

  test('a lease is over when it was released', () => {
    const lease = new BufferPool(LIMIT_BYTES).tryLease(10)
    lease?.release()
    expect(() => lease?.bytes).toThrow('somebody else')
    expect(() => lease?.release()).toThrow('once')
  })
})
