import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ManagedProcess, type ProcessSpec, type UnexpectedEnd } from './managed-process.ts'
import { findProcess, isAlive } from './process-identity.ts'
import { ProcessLedger } from './process-ledger.ts'
import { runCommand } from './run-command.ts'
import { waitUntil } from './wait-until.ts'

const signal = AbortSignal.timeout(60_000)
let directory: string
let ledger: ProcessLedger
const ends: UnexpectedEnd[] = []

beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'sendense-processes-'))
  ledger = new ProcessLedger(path.join(directory, 'ledger'))
  ends.length = 0
})

afterEach(async () => {
  await ledger.endLeftovers({ signal })
  await rm(directory, { recursive: true, force: true })
})

/** A program that says `serving` when it is ready. */
function program(script: string, changes: Partial<ProcessSpec> = {}): ManagedProcess {
  const logFile = path.join(directory, 'program.log')
  const ready = async (): Promise<boolean> => (await readFile(logFile, 'utf8')).includes('serving')
  const spec = { name: 'program', file: process.execPath, args: ['-e', script], logFile, ready, readyTimeoutMs: 20_000 }
  return new ManagedProcess({ ...spec, ...changes }, ledger, (end) => ends.push(end))
}

const SERVE = 'console.log("serving"); setInterval(() => {}, 1000)'

test('a started process serves, and after stop it is gone and nobody is told', async () => {
  const running = program(SERVE)
  await running.start({ signal })
  const identity = findProcess(running.pid ?? 0)
  expect(identity).toBeDefined()
  await running.stop()
  expect(identity !== undefined && isAlive(identity)).toBe(false)
  expect(ends).toEqual([])
})

/** Pid 0 would be this test's own process group. */
function killNow(pid: number | undefined): void {
  if (pid === undefined) throw new Error('the program does not run')
  process.kill(pid, 'SIGKILL')
}

test('one that ends before it serves is an error that shows what this start of it wrote', async () => {
  await program(SERVE).start({ signal })
  await ledger.endLeftovers({ signal })
  const broken = program('console.error("no such table"); process.exit(3)', { ready: async () => false })
  const error = await broken.start({ signal }).catch((reason: unknown) => reason)
  expect(String(error)).toMatch(/exit code 3[^]*no such table/)
  expect(String(error)).not.toContain('serving')
})

test('one that never serves is ended at its deadline', async () => {
  const silent = program('setInterval(() => {}, 1000)', { ready: async () => false, readyTimeoutMs: 500 })
  await expect(silent.start({ signal })).rejects.toThrow('to be ready')
  expect(silent.isRunning).toBe(false)
})

test('an end that nobody asked for is reported once, with its reason', async () => {
  const running = program(SERVE)
  await running.start({ signal })
  killNow(running.pid)
  await waitUntil('the report', async () => ends.length > 0, { signal, timeoutMs: 10_000 })
  expect(ends).toMatchObject([{ name: 'program', reason: 'killed by SIGKILL' }])
})

test('what a crashed starter left behind is ended by the next, also when it does not listen', async () => {
  const stubborn = program(`process.on('SIGTERM', () => console.log('no')); ${SERVE}`)
  await stubborn.start({ signal })
  const identity = findProcess(stubborn.pid ?? 0)
  const next = new ProcessLedger(path.join(directory, 'ledger'))
  expect(await next.endLeftovers({ signal, timeoutMs: 500 })).toEqual(['program'])
  expect(identity !== undefined && isAlive(identity)).toBe(false)
  expect(await next.endLeftovers({ signal })).toEqual([])
})

test('a pid that belongs to another process by now is left alone', async () => {
  const running = program(SERVE)
  await running.start({ signal })
  const { pid = 0 } = running
  await ledger.record('someone', { pid, startTicks: '1' }, 'SIGTERM')
  await ledger.forget('program')
  expect(await ledger.endLeftovers({ signal })).toEqual([])
  expect(findProcess(pid)).toBeDefined()
  await running.stop()
})

test('a failing command is quoted without its later arguments, which may be secret', async () => {
  const script = 'console.error("it broke"); process.exit(1)'
  const failure = runCommand(process.execPath, ['-e', script, 'one', '--password', 'hunter2'], { signal })
  const error = await failure.catch((reason: unknown) => reason)
  expect(String(error)).toContain('it broke')
  expect(String(error)).not.toContain('hunter2')
})
