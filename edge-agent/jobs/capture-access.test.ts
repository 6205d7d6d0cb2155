import { createHash, randomBytes } from 'node:crypto'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { newId } from '@sendense/shared/runtime/identifiers.ts'
import { expect, test } from 'vitest'
import { createMemoryCatalogue } from '../catalog/memory/memory-catalogue.ts'
import { parseEnrolmentToken, printEnrolmentToken } from '../tunnel/enrolment-token.ts'
import { describeTunnelGrants } from '../tunnel/tunnel-grants.conformance.ts'
import { CaptureAccess } from './capture-access.ts'

const options = { signal: AbortSignal.timeout(60_000) }
const address = { host: 'edge.example.org', port: 443, hostKey: `SHA256:${'A'.repeat(43)}` }
const DAY_MS = 24 * 3_600_000

function open(nowMs?: () => number) {
  const catalogue = createMemoryCatalogue()
  const clock = nowMs === undefined ? systemClock : { ...systemClock, now: () => new Date(nowMs()) }
  return { catalogue, access: new CaptureAccess({ catalogue, clock, newId }) }
}

describeTunnelGrants('catalogue', async () => {
  const { catalogue, access } = open()
  return {
    grants: access,
    createToken: async ({ captureAgentId, name, ports }, { isOld }) => {
      const secret = randomBytes(32).toString('base64url')
      const secretHash = createHash('sha256').update(secret).digest('hex')
      const expiresAt = new Date(Date.now() + (isOld ? -1 : 60_000))
      const token = { secretHash, captureAgentId, name, ports, expiresAt }
      await catalogue.transaction(async (tx) => await tx.captureAgents.insertToken(token), options)
      return secret
    },
    revoke: async (captureAgentId) => void (await access.revoke(captureAgentId, options)),
  }
})

test('a printed token says where to go, who to trust, who one will be, and lets one key in', async () => {
  const { access } = open()
  const { token } = await access.createToken({ ...address, name: 'kvm-1', portCount: 3 }, options)
  const read = parseEnrolmentToken(` ${printEnrolmentToken(token)}\n`)
  expect(read).toMatchObject({ ...address, name: 'kvm-1', ports: [20_001, 20_002, 20_003] })
  const grant = await access.enrol({ secret: read.secret, fingerprint: 'SHA256:k', publicKey: 'k' }, options)
  expect(grant).toEqual({ captureAgentId: read.captureAgentId, name: 'kvm-1', ports: read.ports })
  expect(await access.listGrants(options)).toEqual([grant])
})

test('a token is good for 24 hours, and its secret is stored nowhere', async () => {
  let now = Date.parse('2026-01-02T00:00:00Z')
  const { access, catalogue } = open(() => now)
  const make = async () => await access.createToken({ ...address, name: 'kvm-1', portCount: 1 }, options)
  const [first, second] = [await make(), await make()]
  expect(first.expiresAt.getTime()).toBe(now + DAY_MS)
  const stored = await catalogue.transaction(
    async (tx) => await tx.captureAgents.findToken(createHash('sha256').update(first.token.secret).digest('hex')),
    options,
  )
  expect(stored?.captureAgentId).toBe(first.token.captureAgentId)
  expect(JSON.stringify(stored)).not.toContain(first.token.secret)
  const enrol = async (secret: string, fingerprint: string) =>
    await access.enrol({ secret, fingerprint, publicKey: 'k' }, options)
  now += DAY_MS - 1
  expect(await enrol(first.token.secret, 'SHA256:a')).toBeDefined()
  now += 1
  expect(await enrol(second.token.secret, 'SHA256:b')).toBeUndefined()
})

test('what is no token, or not all of one, is refused', async () => {
  const { access } = open()
  const { token } = await access.createToken({ ...address, name: 'kvm-1', portCount: 1 }, options)
  const printed = printEnrolmentToken(token)
  const withMore = printEnrolmentToken(Object.assign({ more: 1 }, token))
  const otherVersion = printed.replace('capture-1', 'capture-2')
  for (const text of ['', 'hello', printed.slice(0, -4), printed.slice(1), withMore, otherVersion]) {
    expect(() => parseEnrolmentToken(text)).toThrow(expect.objectContaining({ code: 'tunnel.token_invalid' }))
  }
})
