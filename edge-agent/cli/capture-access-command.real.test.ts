import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { newId } from '@sendense/shared/runtime/identifiers.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { openMariadbCatalogue } from '../catalog/mariadb/mariadb-catalogue.ts'
import { startTestMariadb, type TestMariadb } from '../catalog/mariadb/test-mariadb.ts'
import { openTunnel } from '../open-tunnel.ts'
import { enrolCaptureAgent } from '../tunnel/enrol-capture-agent.ts'
import { parseEnrolmentToken } from '../tunnel/enrolment-token.ts'
import { generateEd25519Key } from '../tunnel/ssh/ed25519-key.ts'
import { TunnelClient } from '../tunnel/tunnel-client.ts'

const main = path.join(import.meta.dirname, 'main.ts')
const logger = createLogger('test', 'silent')
const Listed = z.array(z.object({ captureAgentId: z.string(), name: z.string(), revokedAt: z.string().optional() }))

let database: TestMariadb
let directory: string
let port: number
beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'sd-'))
  database = await startTestMariadb()
  port = await freePort()
})
afterAll(async () => {
  await database?.[Symbol.asyncDispose]()
  await rm(directory, { recursive: true, force: true })
})

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}

async function run(...args: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const env = {
    PATH: process.env['PATH'],
    SENDENSE_EDGE_STATE_DIR: path.join(directory, 'state'),
    SENDENSE_EDGE_RUNTIME_DIR: path.join(directory, 'run'),
    SENDENSE_EDGE_DATABASE_SOCKET: database.socketPath,
    SENDENSE_EDGE_TUNNEL_PORT: String(port),
  }
  return await new Promise((resolve) => {
    execFile(process.execPath, [main, ...args], { env }, (error, stdout, stderr) => {
      resolve({ exitCode: typeof error?.code === 'number' ? error.code : 0, stdout, stderr })
    })
  })
}

test('a token made on the command line lets one capture agent in, and revoking it there ends its tunnels', async () => {
  const over = new AbortController()
  const signal = AbortSignal.any([over.signal, AbortSignal.timeout(90_000)])
  // Before the agent ever ran: the command makes the host key that the agent then has.
  const created = await run('capture-token', 'create', '--name', 'kvm-1', '--address', '127.0.0.1', '--ports', '2')
  const token = parseEnrolmentToken(created.stdout)
  expect(created).toMatchObject({ exitCode: 0, stderr: expect.stringContaining(`127.0.0.1:${port}`) })
  expect(token).toMatchObject({ host: '127.0.0.1', port, name: 'kvm-1', ports: [20_001, 20_002] })

  const databaseName = 'sendense_edge'
  const { socketPath } = database
  await using catalogue = await openMariadbCatalogue({ socketPath, databaseName, logger, signal })
  const config = {
    stateDir: path.join(directory, 'state'),
    runtimeDir: path.join(directory, 'run'),
    tunnel: { port, host: '127.0.0.1' },
  }
  await using tunnel = await openTunnel({ config, catalogue, clock: systemClock, logger, newId, signal })
  const key = generateEd25519Key()
  await enrolCaptureAgent(token, key, { signal })
  await enrolCaptureAgent(token, key, { signal })
  await expect(enrolCaptureAgent(token, generateEd25519Key(), { signal })).rejects.toMatchObject({
    code: 'tunnel.token_invalid',
  })
  await using client = new TunnelClient({
    address: token,
    hostKeyFingerprint: token.hostKey,
    key,
    ports: token.ports,
    clock: systemClock,
    logger,
  })
  await client.waitUntilConnected({ signal })

  const listed = Listed.parse(JSON.parse((await run('capture-agents', 'list', '--json')).stdout))
  expect(listed).toEqual([{ captureAgentId: token.captureAgentId, name: 'kvm-1' }])
  const revoked = await run('capture-agents', 'revoke', 'kvm-1')
  expect(revoked).toMatchObject({ exitCode: 0, stdout: expect.stringContaining(token.captureAgentId) })
  await expect.poll(() => client.state, { timeout: 20_000 }).toMatchObject({ state: 'waiting', tunnels: 0 })
  await expect.poll(() => client.state.lastError?.code, { timeout: 20_000 }).toBe('tunnel.login_refused')
  expect(tunnel.server?.connected()).toEqual([])
  expect((await run('capture-agents', 'list')).stdout).toContain('revoked')

  // The token that was tried twice and the revoked key: one alert, which counts.
  const events = await catalogue.transaction(async (tx) => await tx.outbox.list({ after: 0, limit: 50 }), { signal })
  const alerts = events.flatMap(({ event }) => (event.type === 'alert-raised' ? event.error.code : []))
  expect(alerts).toEqual(['tunnel.login_refused'])
  over.abort()
})

test('what cannot be done is said with a code, and an exit code', async () => {
  const unknown = await run('capture-agents', 'revoke', 'nobody')
  expect(unknown).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('resource.not_found') })
  const wrong = await run('capture-token', 'create', '--name', 'k', '--address', 'host:0')
  expect(wrong).toMatchObject({ exitCode: 1, stdout: '', stderr: expect.stringContaining('HOST:PORT') })
})
