import { describe, expect, test } from 'vitest'
import { type S3Fault, startS3Double } from '../../test/doubles/s3/s3-double.ts'
import { deleteLeftovers } from './delete-leftovers.ts'
import { listKeys } from './guarantee.ts'
import { createMemoryStore } from './memory/memory-store.ts'
import { S3StoreConfig } from './s3/s3-config.ts'
import { openS3Store } from './s3/s3-store.ts'
import { createSleepingClock } from './sleeping-clock.ts'
import { validateStore } from './validate-store.ts'

const signal = AbortSignal.timeout(110_000)
const cut = (operation: string): S3Fault | undefined => (operation === 'GetObject' ? 'truncated' : undefined)

describe('what a trial leaves behind', () => {
  test('everything is deleted, and what is locked as soon as its retention ends', async () => {
    const clock = createSleepingClock()
    await using store = createMemoryStore({ clock })
    const inSeconds = (seconds: number) => new Date((Math.ceil(clock.now().getTime() / 1000) + seconds) * 1000)
    await store.put('trial/a', Uint8Array.of(1), { signal })
    await store.put('other', Uint8Array.of(1), { signal })
    for (const mode of ['governance', 'compliance'] as const) {
      const retention = { mode, retainUntil: inSeconds(20) }
      await store.immutability.put(`trial/${mode}`, Uint8Array.of(1), { signal, retention })
    }
    expect(await deleteLeftovers(store, 'trial/', { signal, clock, waitMs: 60_000 })).toEqual([])
    expect(await listKeys(store, '', { signal })).toEqual(['other'])
  })

  test('what is still locked then is told with its date', async () => {
    const clock = createSleepingClock()
    await using store = createMemoryStore({ clock })
    const retention = { mode: 'compliance', retainUntil: new Date('2100-01-01T00:00:00Z') } as const
    await store.immutability.put('trial/locked', Uint8Array.of(1), { signal, retention })
    await store.put('trial/held', Uint8Array.of(1), { signal })
    await store.immutability.setLegalHold('trial/held', true, { signal })
    const left = await deleteLeftovers(store, 'trial/', { signal, clock, waitMs: 4000 })
    expect(left).toMatchObject([
      { key: 'trial/held', why: expect.stringMatching(/legal hold/) },
      { key: 'trial/locked', why: expect.stringMatching(/2100-01-01T00:00:00/) },
    ])
  })
})

describe('a trial of a whole storage', () => {
  test('of a server that cuts every answer short: it says so, promise by promise', async () => {
    await using double = await startS3Double({ fault: cut, checksumHeaders: 'refused', ifNoneMatch: 'ignored' })
    const { endpoint, region, credentials } = double
    const bucket = double.createBucket({})
    const settings = { bucket, endpoint, region, credentials: { ...credentials } }
    const report = await validateStore({ kind: 's3', ...S3StoreConfig.parse(settings) }, { signal })
    const broken = report.guarantees.filter(({ outcome }) => outcome === 'broken')
    expect(broken.length).toBeGreaterThan(4)
    expect(broken.every(({ reason }) => reason?.includes('storage.unreachable') === true)).toBe(true)
    const outcomes = Object.fromEntries(report.findings.map(({ capability, outcome }) => [capability, outcome]))
    expect(outcomes).toMatchObject({
      'range-reads': 'unknown',
      'checksum-headers': 'absent',
      'conditional-put': 'wrong',
      'versioning': 'absent',
      'object-lock': 'absent',
      'batch-delete': 'works',
      'payload-hash': 'works',
    })
    await using store = await openS3Store(settings, { signal })
    expect(await listKeys(store, '', { signal })).toEqual([])
    expect(double.bucket(bucket).uploadCount).toBe(0)
  })
})
