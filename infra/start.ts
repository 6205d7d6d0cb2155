import { rm } from 'node:fs/promises'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { tailOfFile } from './processes/log-tail.ts'
import type { UnexpectedEnd } from './processes/managed-process.ts'
import { ProcessLedger } from './processes/process-ledger.ts'
import { stopVms } from './stack/demo-vm.ts'
import { lockState } from './stack/stack-lock.ts'
import { checkoutDir, stackPaths } from './stack/stack-paths.ts'
import { startStack, type Stack } from './stack/stack.ts'

const usage = `npm start -- [--reset] [--no-demo] [--port N]
  --reset     forget all data of earlier starts first
  --no-demo   the portal alone, without agent and virtual machine
  --port N    where the portal listens (usually 4400)`

const STATE_DIR = path.join(checkoutDir, '.sendense/state')
const CACHE_DIR = path.join(checkoutDir, '.sendense/cache')
const startedAt = performance.now()

/** `npm start`: brings the product up and keeps it up until Ctrl-C. Exits 1 when a part does not start or ends by itself. */
async function main(): Promise<number> {
  const options = readArguments()
  const abort = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => abort.abort(signal))
  const { signal } = abort
  try {
    if (options.reset) await resetState(signal)
    say('Sendense is starting')
    await using stack = await startStack({
      stateDir: STATE_DIR,
      cacheDir: CACHE_DIR,
      ports: 'fixed',
      demo: options.demo,
      log: say,
      signal,
      ...(options.port === undefined ? {} : { portalPort: options.port }),
    })
    process.stdout.write(describe(stack))
    const end = await Promise.race([stack.unexpectedEnd, whenAborted(signal)])
    say('stopping')
    if (end === undefined) return 0
    await reportEnd(end)
    return 1
  } catch (error) {
    if (signal.aborted) return 0
    throw error
  } finally {
    if (signal.aborted) say('stopped')
  }
}

function readArguments(): { reset: boolean; demo: boolean; port: number | undefined } {
  const flags = { 'reset': { type: 'boolean' }, 'no-demo': { type: 'boolean' }, 'port': { type: 'string' } } as const
  try {
    const { values } = parseArgs({ options: { ...flags, help: { type: 'boolean' } } })
    if (values.help === true) {
      process.stdout.write(`${usage}\n`)
      process.exit(0)
    }
    const port = values.port === undefined ? undefined : Number(values.port)
    if (port !== undefined && !(Number.isInteger(port) && port > 0 && port < 65_536)) {
      throw new TypeError(`--port ${values.port} is no port number`)
    }
    return { reset: values.reset === true, demo: values['no-demo'] !== true, port }
  } catch (error) {
    throw new PlatformError('input.invalid', `${error instanceof Error ? error.message : String(error)}\n${usage}`)
  }
}

/** Ends what earlier starts left behind, then deletes all of their data; the cache of downloads and builds stays. */
async function resetState(signal: AbortSignal): Promise<void> {
  const paths = stackPaths(STATE_DIR, CACHE_DIR)
  await using lock = await lockExisting(paths.stateDir)
  if (lock === undefined) return
  say('deleting the data of earlier starts')
  await new ProcessLedger(paths.ledgerDir).endLeftovers({ signal })
  await stopVms(paths, { signal })
  await rm(paths.stateDir, { recursive: true, force: true })
  await rm(paths.runtimeDir, { recursive: true, force: true })
}

async function lockExisting(stateDir: string): Promise<AsyncDisposable | undefined> {
  try {
    return await lockState(stateDir)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

async function whenAborted(signal: AbortSignal): Promise<undefined> {
  if (signal.aborted) return undefined
  return await new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(undefined), { once: true })
  })
}

function describe(stack: Stack): string {
  const rows = [
    ['Portal', stack.portalUrl],
    ['E-mail', stack.ownerEmail],
    ['Password', stack.ownerPassword],
    ...(stack.vm === undefined
      ? []
      : [['Virtual machine', `${stack.vm.name} (running, console in ${relative(stack.vm.consoleLog)})`]]),
    ['Logs', relative(stack.paths.logsDir)],
    ['Stop', 'Ctrl-C'],
  ]
  const lines = rows.map(([name = '', value = '']) => ` ${name.padEnd(16)} ${value} `)
  const width = Math.max(...lines.map((line) => line.length))
  const bar = '\u2500'.repeat(width)
  const body = lines.map((line) => `\u2502${line.padEnd(width)}\u2502`).join('\n')
  return `\n\u250c${bar}\u2510\n${body}\n\u2514${bar}\u2518\n\n`
}

async function reportEnd(end: UnexpectedEnd): Promise<void> {
  const log = await tailOfFile(end.logFile)
  process.stderr.write(`\n${end.name} ended by itself (${end.reason}). The end of ${relative(end.logFile)}:\n${log}\n`)
}

function relative(file: string): string {
  return path.relative(checkoutDir, file)
}

function say(line: string): void {
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1).padStart(6)
  process.stdout.write(`${seconds} s  ${line}\n`)
}

try {
  process.exitCode = await main()
} catch (error) {
  if (error instanceof PlatformError) process.stderr.write(`\n${error.code}: ${error.message}\n${error.advice}\n`)
  else process.stderr.write(`\n${error instanceof Error ? error.stack : String(error)}\n`)
  process.exitCode = 1
}
