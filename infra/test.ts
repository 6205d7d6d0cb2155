import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { addCounts, closingLine, sumCountLines, type TestCounts } from './checks/test-counts.ts'
import { buildDashboard } from './stack/dashboard.ts'
import { checkoutDir } from './stack/stack-paths.ts'

interface Step {
  readonly name: string
  readonly timeoutMs: number
  readonly run: (signal: AbortSignal) => Promise<boolean>
}

const BIN_DIR = path.join(checkoutDir, 'node_modules/.bin')
const REPORTER = path.join(checkoutDir, 'infra/checks/closing-line-reporter.ts')
const MINUTE_MS = 60_000

/**
 * `npm test`: checks, the portal's build, and every vitest project; `--unit`: the unit project alone. Goes on after a
 * failure so that one run shows all of them. The last line is `N passed, N failed, N skipped` over all runs, where a
 * failed check or build counts as one failed test. Exits 1 when anything failed, and in CI also when anything was skipped.
 */
async function main(): Promise<number> {
  const work = await mkdtemp(path.join(tmpdir(), 'sendense-test-'))
  const countsFile = path.join(work, 'counts')
  await writeFile(countsFile, '')
  let counts: TestCounts = { passed: 0, failed: 0, skipped: 0 }
  try {
    const steps = process.argv.includes('--unit') ? [vitest('unit', countsFile, 2)] : allSteps(countsFile)
    for (const step of steps) counts = addCounts(counts, await take(step, countsFile))
  } finally {
    await rm(work, { recursive: true, force: true })
  }
  process.stdout.write(`\n${closingLine(counts)}\n`)
  const skipsCount = process.env['CI'] !== undefined
  return counts.failed > 0 || counts.passed === 0 || (skipsCount && counts.skipped > 0) ? 1 : 0
}

function allSteps(countsFile: string): Step[] {
  return [
    program('types', ['turbo', 'run', 'check:types', '--output-logs=errors-only', '--ui=stream'], 4),
    program('lint', ['oxlint', '--type-aware', '--deny-warnings'], 2),
    program('format', ['oxfmt', '--check'], 1),
    program('imports', ['node', 'infra/checks/check-imports.ts'], 2),
    vitest('unit', countsFile, 3),
    { name: "portal's build", timeoutMs: 5 * MINUTE_MS, run: buildPortal },
    vitest('real', countsFile, 13),
    vitest('stack', countsFile, 12),
  ]
}

/** Runs one step; a step that fails without a failed test of its own counts as one. */
async function take(step: Step, countsFile: string): Promise<TestCounts> {
  const startedAt = performance.now()
  process.stdout.write(`\n=== ${step.name}\n`)
  await writeFile(countsFile, '')
  const ok = await step.run(AbortSignal.timeout(step.timeoutMs)).catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    return false
  })
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  process.stdout.write(`=== ${step.name}: ${ok ? 'ok' : 'FAILED'} (${seconds} s)\n`)
  const counts = sumCountLines(await readFile(countsFile, 'utf8'))
  return ok || counts.failed > 0 ? counts : { ...counts, failed: 1 }
}

function vitest(project: string, countsFile: string, timeoutMinutes: number): Step {
  const reporters = ['--reporter', 'default', '--reporter', REPORTER]
  return program(`${project} tests`, ['vitest', 'run', '--project', project, ...reporters], timeoutMinutes, {
    SENDENSE_TEST_COUNTS_FILE: countsFile,
  })
}

function program(
  name: string,
  command: readonly [string, ...string[]],
  timeoutMinutes: number,
  environment = {},
): Step {
  const [file, ...args] = command
  const timeoutMs = timeoutMinutes * MINUTE_MS
  return {
    name,
    timeoutMs,
    run: async (signal) => {
      const env = { ...process.env, TURBO_TELEMETRY_DISABLED: '1', ...environment }
      const child = spawn(path.join(BIN_DIR, file), args, { cwd: checkoutDir, env, stdio: 'inherit' })
      signal.addEventListener('abort', () => child.kill('SIGTERM'), { once: true })
      await once(child, 'exit')
      if (signal.aborted) throw new Error(`${name} did not end within ${timeoutMinutes} minutes`)
      return child.exitCode === 0
    },
  }
}

async function buildPortal(signal: AbortSignal): Promise<boolean> {
  await buildDashboard({
    cacheDir: path.join(checkoutDir, '.sendense/cache'),
    signal,
    log: (line) => process.stdout.write(`${line}\n`),
  })
  return true
}

process.exitCode = await main()
