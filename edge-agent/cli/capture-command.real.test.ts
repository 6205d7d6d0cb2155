import { execFile, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { RemoteVmHost } from '../capture/remote-vm-host.ts'
import { KvmTestHost } from '../platforms/kvm/kvm-test-host.ts'
import { generateEnrolmentSecret, printEnrolmentToken } from '../tunnel/enrolment-token.ts'
import { MemoryTunnelGrants } from '../tunnel/memory-tunnel-grants.ts'
import { TunnelServer } from '../tunnel/tunnel-server.ts'

const main = path.join(import.meta.dirname, 'main.ts')
const logger = createLogger('test', 'silent')
const options = { signal: AbortSignal.timeout(120_000) }
const Status = z.object({
  identity: z.object({ name: z.string(), ports: z.number() }),
  running: z.object({ vms: z.object({ listed: z.number() }), leases: z.array(z.unknown()) }).nullable(),
})

/** An edge agent's end of the tunnel, and a KVM host's command line. */
async function openScene() {
  await using undo = new AsyncDisposableStack()
  const dir = await mkdtemp(path.join(tmpdir(), 'sd-'))
  undo.defer(async () => await rm(dir, { recursive: true, force: true }))
  const kvm = undo.use(await KvmTestHost.open())
  const grants = new MemoryTunnelGrants()
  const place = { stateDir: path.join(dir, 'edge'), runtimeDir: dir, clock: systemClock, logger }
  await mkdir(place.stateDir)
  const server = undo.use(
    await TunnelServer.open({ ...place, port: 0, host: '127.0.0.1', grants, onRefused: () => undefined }),
  )
  const stateDir = path.join(dir, 'cap')
  const run = async (command: string, ...args: string[]) => {
    return await new Promise<{ exitCode: number; stdout: string; stderr: string }>((resolve) => {
      execFile(
        process.execPath,
        [main, 'capture', command, '--state-dir', stateDir, ...args],
        (error, stdout, stderr) => {
          resolve({ exitCode: typeof error?.code === 'number' ? error.code : 0, stdout, stderr })
        },
      )
    })
  }
  const newToken = () => {
    const grant = { captureAgentId: randomUUID(), name: 'kvm1', ports: [20_001, 20_002, 20_003] }
    const secret = generateEnrolmentSecret()
    grants.addToken(secret, grant)
    const address = { host: '127.0.0.1', port: server.port, hostKey: server.hostKeyFingerprint }
    return { ...grant, text: printEnrolmentToken({ ...address, ...grant, secret }) }
  }
  const host = ['--kvm-root', kvm.host.rootDir, '--kvm-runtime-dir', kvm.host.runtimeDir]
  const kept = undo.move()
  const scene = { dir, kvm, server, stateDir, run, newToken, host }
  return { ...scene, [Symbol.asyncDispose]: async () => await kept.disposeAsync() }
}

test('enrols once with a token from a file, keeps its key to itself, and is not enrolled elsewhere by mistake', async () => {
  await using scene = await openScene()
  const { run, newToken, stateDir, dir } = scene
  expect(await run('status')).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining('capture.not_enrolled') as string,
  })
  const token = newToken()
  const file = path.join(dir, 'token')
  await writeFile(file, `${token.text}\n`)
  for (const _ of [1, 2]) {
    const enrolled = await run('enrol', '--token', `@${file}`, '--json')
    expect(enrolled).toMatchObject({ exitCode: 0, stderr: '' })
    expect(JSON.parse(enrolled.stdout)).toMatchObject({ captureAgentId: token.captureAgentId, name: 'kvm1', ports: 3 })
    expect(enrolled.stdout).not.toContain('PRIVATE KEY')
  }
  expect(await readdir(stateDir)).toEqual(['identity.json'])
  expect((await stat(path.join(stateDir, 'identity.json'))).mode & 0o777).toBe(0o600)
  const other = newToken()
  expect((await run('enrol', '--token', other.text)).stderr).toContain('capture.already_enrolled')
  const replaced = await run('enrol', '--token', other.text, '--replace', '--json')
  expect(JSON.parse(replaced.stdout)).toMatchObject({ captureAgentId: other.captureAgentId })
})

test('runs until SIGTERM, is reached through its tunnel, and says how it is', async () => {
  await using scene = await openScene()
  const { kvm, server, stateDir, run, newToken, host } = scene
  const token = newToken()
  await run('enrol', '--token', token.text)
  const stopped = await run('status')
  expect(stopped).toMatchObject({ exitCode: 3, stdout: expect.stringContaining('does not run') as string })

  const vm = await kvm.addVm('guest', [{ diskId: 'disk0', sizeBytes: 1024 * 1024 }])
  await kvm.start(vm)
  const child = spawn(process.execPath, [main, 'capture', 'run', '--state-dir', stateDir, ...host], { stdio: 'ignore' })
  const ended = once(child, 'exit')
  await using far = new RemoteVmHost({
    captureAgentId: token.captureAgentId,
    name: 'kvm1',
    ports: [20_001, 20_002, 20_003],
    socketPath: (port) => server.socketPath(token.captureAgentId, port),
  })
  expect(await far.listVms({ signal: AbortSignal.timeout(1) }).catch(() => [])).toEqual([])
  await expect.poll(() => far.isReachable, { timeout: 30_000 }).toBe(true)
  await using _address = await far.openService(vm.config.vmId, 'monitor', options)
  const shown = await run('status', '--json')
  expect(shown.exitCode).toBe(0)
  expect(Status.parse(JSON.parse(shown.stdout))).toMatchObject({
    identity: { name: 'kvm1', ports: 3 },
    running: { vms: { listed: 1 }, leases: [{ service: 'monitor', vmId: vm.config.vmId }] },
  })
  const second = await run('run', ...host)
  expect(second).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('capture.already_running') as string })

  await server[Symbol.asyncDispose]()
  await expect.poll(async () => (await run('status')).exitCode, { timeout: 20_000 }).toBe(4)
  child.kill('SIGTERM')
  expect(await ended).toEqual([0, null])
  expect((await run('status')).exitCode).toBe(3)
})
