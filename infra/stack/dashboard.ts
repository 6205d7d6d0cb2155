import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import type { ProcessSpec } from '../processes/managed-process.ts'
import { tryLock } from '../processes/process-lock.ts'
import { runCommand } from '../processes/run-command.ts'
import { waitUntil } from '../processes/wait-until.ts'
import { checkoutDir, type StackPaths } from './stack-paths.ts'

const DASHBOARD_DIR = path.join(checkoutDir, 'dashboard')
const BUILD_TIMEOUT_MS = 300_000
/** Written last into the build, so that a build cut short is not taken for one. */
const STAMP = path.join(DASHBOARD_DIR, '.next', 'sendense-inputs')

interface BuildOptions {
  /** Where the lock lies; the build itself is in the portal's folder. */
  readonly cacheDir: string
  readonly signal: AbortSignal
  readonly log: (line: string) => void
}

/**
 * Builds the portal for production unless the last build was made from the very same files. One build at a time: another
 * process's is waited for. Returns whether it built.
 */
export async function buildDashboard(options: BuildOptions): Promise<boolean> {
  await mkdir(options.cacheDir, { recursive: true })
  await using _lock = await waitUntil(
    'another build of the portal to end',
    async () => (await tryLock(path.join(options.cacheDir, 'dashboard-build.lock'))).lock,
    { signal: options.signal, timeoutMs: BUILD_TIMEOUT_MS, pauseMs: 500 },
  )
  const inputs = await hashInputs()
  if ((await readFile(STAMP, 'utf8').catch(() => '')) === inputs) return false
  options.log("building the portal's production version")
  const environment = { ...process.env, NEXT_TELEMETRY_DISABLED: '1', NODE_ENV: 'production' }
  await runCommand(process.execPath, [nextCommand(), 'build'], {
    signal: options.signal,
    cwd: DASHBOARD_DIR,
    env: environment,
    timeoutMs: BUILD_TIMEOUT_MS,
  })
  await writeFile(STAMP, inputs)
  return true
}

/** How to run the built portal, on loopback only; the cloud stands in front of it. */
export function dashboardProcess(paths: StackPaths, port: number): ProcessSpec {
  return {
    name: 'dashboard',
    file: process.execPath,
    args: [nextCommand(), 'start', '--hostname', '127.0.0.1', '--port', String(port)],
    env: { ...process.env, NEXT_TELEMETRY_DISABLED: '1', NODE_ENV: 'production' },
    cwd: DASHBOARD_DIR,
    logFile: path.join(paths.logsDir, 'dashboard.log'),
    ready: async (signal) => (await fetch(`http://127.0.0.1:${port}/`, { signal, redirect: 'manual' })).status < 500,
    readyTimeoutMs: 60_000,
  }
}

function nextCommand(): string {
  return createRequire(path.join(DASHBOARD_DIR, 'package.json')).resolve('next/dist/bin/next')
}

/** Everything that can change the build: the portal, what it bundles, and the versions of packages. */
async function hashInputs(): Promise<string> {
  const hash = createHash('sha256').update(await readFile(path.join(checkoutDir, 'package-lock.json')))
  for (const directory of ['dashboard', 'shared']) {
    for (const file of await listSources(path.join(checkoutDir, directory))) {
      hash.update(`${path.relative(checkoutDir, file)}\n`).update(await readFile(file))
    }
  }
  return hash.digest('hex')
}

async function listSources(directory: string): Promise<string[]> {
  const files: string[] = []
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const full = path.join(directory, entry.name)
    if (['node_modules', '.next', '.turbo', 'next-env.d.ts'].includes(entry.name)) continue
    if (entry.isDirectory()) files.push(...(await listSources(full)))
    else if (!/\.test\.tsx?$|\.tsbuildinfo$|\.md$/.test(entry.name)) files.push(full)
  }
  return files.toSorted()
}
