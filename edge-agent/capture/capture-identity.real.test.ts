import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { expect, test } from 'vitest'
import { type EnrolmentToken, generateEnrolmentSecret, printEnrolmentToken } from '../tunnel/enrolment-token.ts'
import { MemoryTunnelGrants } from '../tunnel/memory-tunnel-grants.ts'
import { readEd25519Key } from '../tunnel/ssh/ed25519-key.ts'
import { TunnelServer } from '../tunnel/tunnel-server.ts'
import { enrol, readIdentity } from './capture-identity.ts'

const signal = AbortSignal.timeout(60_000)
const logger = createLogger('test', 'silent')

async function openScene() {
  await using undo = new AsyncDisposableStack()
  const dir = await mkdtemp(join(tmpdir(), 'sd-identity-'))
  undo.defer(async () => await rm(dir, { recursive: true, force: true }))
  const grants = new MemoryTunnelGrants()
  const place = { stateDir: join(dir, 'edge'), runtimeDir: dir, clock: systemClock, logger }
  await mkdir(place.stateDir)
  const server = undo.use(
    await TunnelServer.open({ ...place, port: 0, host: '127.0.0.1', grants, onRefused: () => undefined }),
  )
  const newToken = (change: Partial<EnrolmentToken> = {}) => {
    const grant = { captureAgentId: randomUUID(), name: 'kvm1', ports: [20_002, 20_001] }
    const secret = generateEnrolmentSecret()
    grants.addToken(secret, grant)
    const address = { host: '127.0.0.1', port: server.port, hostKey: server.hostKeyFingerprint }
    return printEnrolmentToken({ ...address, ...grant, secret, ...change })
  }
  const stateDir = join(dir, 'cap')
  const enrolHere = async (token: string, replace = false) => await enrol(stateDir, { token, replace, signal })
  const kept = undo.move()
  const scene = { server, grants, stateDir, newToken, enrolHere }
  return { ...scene, [Symbol.asyncDispose]: async () => await kept.disposeAsync() }
}

test('the key that was enrolled is the one that is kept, its ports ascending', async () => {
  await using scene = await openScene()
  const identity = await scene.enrolHere(scene.newToken())
  expect(await readIdentity(scene.stateDir)).toEqual(identity)
  expect(identity.ports).toEqual([20_001, 20_002])
  const { fingerprint } = readEd25519Key(identity.key, 'test')
  expect(await scene.grants.find(fingerprint)).toMatchObject({ captureAgentId: identity.captureAgentId })
})

test('a token that is none, was used by another key, or names another host key enrols nobody', async () => {
  await using scene = await openScene()
  const used = scene.newToken()
  await scene.enrolHere(used)
  await rm(scene.stateDir, { recursive: true })
  const mistakes = [
    ['sendense-capture-1.nonsense', 'tunnel.token_invalid'],
    [used, 'tunnel.token_invalid'],
    [scene.newToken({ hostKey: `SHA256:${'A'.repeat(43)}` }), 'tunnel.host_key_mismatch'],
    [scene.newToken({ port: 1 }), 'tunnel.unreachable'],
  ] as const
  for (const [token, code] of mistakes) await expect(scene.enrolHere(token)).rejects.toMatchObject({ code })
  await expect(readIdentity(scene.stateDir)).rejects.toMatchObject({ code: 'capture.not_enrolled' })
})

test('killed between the answer and its own note of it, it enrols with the same key and token again', async () => {
  await using scene = await openScene()
  const token = scene.newToken()
  const identity = await scene.enrolHere(token)
  // As it lies there when only the answer is missing.
  await writeFile(join(scene.stateDir, 'enrolling.json'), JSON.stringify(identity))
  await rm(join(scene.stateDir, 'identity.json'))
  expect(await scene.enrolHere(token)).toEqual(identity)
  expect(await readdir(scene.stateDir)).toEqual(['identity.json'])
})

test('an edge agent is only left for another when that is asked for, and kept when that fails', async () => {
  await using scene = await openScene()
  const before = await scene.enrolHere(scene.newToken())
  const other = scene.newToken()
  await expect(scene.enrolHere(other)).rejects.toMatchObject({ code: 'capture.already_enrolled' })
  await expect(scene.enrolHere(scene.newToken({ port: 1 }), true)).rejects.toMatchObject({ code: 'tunnel.unreachable' })
  expect(await readIdentity(scene.stateDir)).toEqual(before)
  const after = await scene.enrolHere(other, true)
  expect(after.captureAgentId).not.toBe(before.captureAgentId)
  expect(after.key).not.toBe(before.key)
  expect(await readIdentity(scene.stateDir)).toEqual(after)
})

test('an identity that cannot be trusted is config.invalid, and names the file', async () => {
  await using scene = await openScene()
  await scene.enrolHere(scene.newToken())
  const file = join(scene.stateDir, 'identity.json')
  const text = await readFile(file, 'utf8')
  await writeFile(file, text.slice(0, 40))
  const invalid = { code: 'config.invalid', message: expect.stringContaining(file) as string }
  await expect(readIdentity(scene.stateDir)).rejects.toMatchObject(invalid)
})
