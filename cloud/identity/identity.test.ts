import { describe, expect, test } from 'vitest'
import { createAttemptLimiter } from './attempt-limiter.ts'
import { hashPassword, isPassword } from './password.ts'
import { type Permission, permissionsOf } from './permissions.ts'
import { createOriginPolicy } from './request-origin.ts'

describe('origin of requests', () => {
  const local = createOriginPolicy('http://localhost:4400')
  const hosted = createOriginPolicy('https://portal.example.com')

  test.each([
    ['a page of the portal', { 'sec-fetch-site': 'same-origin', 'origin': 'https://portal.example.com' }, true],
    ['a page elsewhere', { 'sec-fetch-site': 'cross-site', 'origin': 'https://evil.example' }, false],
    ['another host of the same site', { 'sec-fetch-site': 'same-site', 'origin': 'https://x.example.com' }, false],
    ['an address typed by hand', { 'sec-fetch-site': 'none' }, false],
    ['an old browser elsewhere', { origin: 'https://evil.example' }, false],
    ['a sandboxed page', { origin: 'null' }, false],
    ['an old browser on the portal', { origin: 'https://portal.example.com' }, true],
    ['a program with a cookie', {}, false],
  ])('with a cookie, %s', (_who, headers, allowed) => {
    expect(hosted.allowsChange(headers, 'cookie')).toBe(allowed)
  })

  test('a program with a token needs no origin; a page elsewhere never gets by', () => {
    expect(hosted.allowsChange({}, 'bearer')).toBe(true)
    expect(hosted.allowsChange({}, 'none')).toBe(true)
    expect(hosted.allowsChange({ 'sec-fetch-site': 'cross-site' }, 'none')).toBe(false)
  })

  test('all names of the loopback host are one origin, on the same port and scheme only', () => {
    expect(local.allowsUpgrade({ origin: 'http://127.0.0.1:4400' })).toBe(true)
    expect(local.allowsUpgrade({ origin: 'http://127.0.0.1:4401' })).toBe(false)
    expect(local.allowsUpgrade({ origin: 'https://localhost:4400' })).toBe(false)
    expect(local.allowsUpgrade({ origin: 'http://localhost.evil.example:4400' })).toBe(false)
    expect(hosted.allowsUpgrade({ origin: 'http://127.0.0.1:4400' })).toBe(false)
  })
})

test('attempts are refused past the limit and allowed again after the window', () => {
  let now = 0
  const limiter = createAttemptLimiter({ attemptsMax: 2, windowMs: 1000, now: () => now })
  expect([limiter.tryTake('a'), limiter.tryTake('a'), limiter.tryTake('a')]).toEqual([true, true, false])
  expect(limiter.tryTake('b')).toBe(true)
  now = 1001
  expect(limiter.tryTake('a')).toBe(true)
  limiter.reset('a')
  expect([limiter.tryTake('a'), limiter.tryTake('a'), limiter.tryTake('a')]).toEqual([true, true, false])
})

test('a password is right only for its own hash, which is Argon2id and never twice the same', async () => {
  const [first, second] = [await hashPassword('secret word'), await hashPassword('secret word')]
  expect(first).toMatch(/^\$argon2id\$/)
  expect(first).not.toBe(second)
  expect(await isPassword(first, 'secret word')).toBe(true)
  expect(await isPassword(first, 'secret Word')).toBe(false)
  expect(await isPassword(undefined, 'a password nobody has')).toBe(false)
})

test('only owners and admins enrol agents; who reads only changes nothing', () => {
  const enrolling = Object.entries(permissionsOf).filter(([, granted]) => granted.has('agent.enrol'))
  expect(enrolling.map(([role]) => role)).toEqual(['owner', 'admin'])
  expect([...permissionsOf['read-only']].filter((permission) => !permission.endsWith('.read'))).toEqual([])
  expect(permissionsOf['restore-operator'].has('backup.run')).toBe(false)
})

function rolesWith(permission: Permission): string[] {
  return Object.entries(permissionsOf).flatMap(([role, granted]) => (granted.has(permission) ? [role] : []))
}

test('who works with backups acknowledges alerts; readers see them; the billing auditor does neither', () => {
  expect(rolesWith('alert.acknowledge')).toEqual(['owner', 'admin', 'operator'])
  expect(rolesWith('alert.read')).toEqual(['owner', 'admin', 'operator', 'restore-operator', 'read-only'])
})
