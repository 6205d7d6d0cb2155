import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { findProcess, isAlive, type ProcessIdentity } from '../processes/process-identity.ts'
import { startStack, type Stack, type StackOptions } from './stack.ts'

const START_TIMEOUT_MS = 240_000
let baseDir: string
let options: StackOptions
let stack: Stack

beforeAll(async () => {
  baseDir = await mkdtemp(path.join(tmpdir(), 'sendense-stack-')) // private to its owner, as homes are
  const signal = AbortSignal.timeout(START_TIMEOUT_MS)
  options = { stateDir: path.join(baseDir, 'state'), ports: 'free', demo: false, log: () => {}, signal }
  stack = await startStack(options)
}, START_TIMEOUT_MS)

afterAll(async () => {
  await stack[Symbol.asyncDispose]()
  await rm(baseDir, { recursive: true, force: true })
})

test('portal and API answer on one origin', async () => {
  expect((await fetch(`${stack.portalUrl}/health`)).status).toBe(200)
  const page = await fetch(`${stack.portalUrl}/login`)
  expect(page.status).toBe(200)
  expect(await page.text()).toContain('<html')
})

test('a second start on the same directory is refused and names the first', async () => {
  await expect(startStack(options)).rejects.toThrow(`process ${process.pid}`)
  expect((await fetch(`${stack.portalUrl}/health`)).status).toBe(200)
})

test('a process that ends by itself is reported; the others can be stopped and started one by one', async () => {
  await stack.processes.broker?.restart({ signal: AbortSignal.timeout(30_000) })
  const dashboardPid = stack.processes.dashboard?.pid
  if (dashboardPid === undefined) throw new Error('the portal does not run')
  process.kill(dashboardPid, 'SIGKILL')
  expect(await stack.unexpectedEnd).toMatchObject({ name: 'dashboard', reason: 'killed by SIGKILL' })
})

test(
  'after disposal nothing that it started is left, and another start keeps the data',
  async () => {
    const identities = Object.values(stack.processes).map((process) => findProcess(process.pid ?? 0))
    const { site, ownerPassword, paths } = stack
    await stack[Symbol.asyncDispose]()
    const alive = identities.filter(
      (identity): identity is ProcessIdentity => identity !== undefined && isAlive(identity),
    )
    expect(alive).toEqual([])
    await expect(stat(paths.runtimeDir)).rejects.toThrow('ENOENT')
    stack = await startStack({ ...options, signal: AbortSignal.timeout(START_TIMEOUT_MS) })
    expect(stack.site).toEqual(site)
    expect(stack.ownerPassword).toBe(ownerPassword)
  },
  START_TIMEOUT_MS,
)
