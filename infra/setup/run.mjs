// Entry of `npm start`, `npm test`, `npm run test:unit` and `npm run setup`. Plain JavaScript without dependencies: it
// must run on a fresh machine with Node 20, before any package is there. What follows runs on Node 24 from node_modules.
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { checkoutDir, SetupError } from './console.mjs'
import { ensureDebianPackages } from './debian-packages.mjs'
import { ensureNodePackages } from './node-packages.mjs'

const TASKS = {
  'start': { debian: true, tests: false, script: ['infra/start.ts'] },
  'test': { debian: true, tests: true, script: ['infra/test.ts'] },
  'test:unit': { debian: false, tests: false, script: ['infra/test.ts', '--unit'] },
  'bench:mover': { debian: true, tests: true, script: ['test/bench/mover-benchmark.ts'] },
  'bench:repository': { debian: true, tests: true, script: ['test/bench/repository-benchmark.ts'] },
  'setup': { debian: true, tests: true, script: undefined },
}

async function main() {
  const [name = '', ...rest] = process.argv.slice(2)
  const task = Object.hasOwn(TASKS, name) ? TASKS[name] : undefined
  if (task === undefined) throw new SetupError(`usage: node infra/setup/run.mjs ${Object.keys(TASKS).join('|')}`)
  requireMachine()
  process.umask(0o022)
  process.env['PATH'] = `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin` // users' shells may leave them out
  if (task.debian) await ensureDebianPackages({ tests: task.tests })
  await ensureNodePackages()
  return task.script === undefined ? 0 : await handOver([...task.script, ...rest])
}

function requireMachine() {
  const [major = 0] = process.versions.node.split('.').map(Number)
  if (major < 20) throw new SetupError(`Node 20 or newer is needed to begin; this is ${process.versions.node}.`)
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new SetupError(`This runs on Linux on x86-64 only; this is ${process.platform} on ${process.arch}.`)
  }
}

/** Runs the rest on the Node of node_modules; signals are passed on and its end is this end. */
async function handOver(args) {
  const binDir = path.join(checkoutDir, 'node_modules/.bin')
  const env = { ...process.env, PATH: `${binDir}:${process.env['PATH']}` }
  const child = spawn(path.join(binDir, 'node'), args, { cwd: checkoutDir, env, stdio: 'inherit' })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  return await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) => resolve(code ?? 128 + (constants.signals[signal ?? 'SIGTERM'] ?? 0)))
  })
}

try {
  process.exitCode = await main()
} catch (error) {
  const text = error instanceof SetupError ? error.message : String(error instanceof Error ? error.stack : error)
  process.stderr.write(`\nSet-up stopped: ${text}\n`)
  process.exitCode = 1
}
