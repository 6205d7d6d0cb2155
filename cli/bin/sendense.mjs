#!/usr/bin/env node
// Plain JavaScript that any Node from 18 on can run: the client itself needs the Node that the repository brings along.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const MINIMUM = [24, 12]
const cliDir = dirname(dirname(fileURLToPath(import.meta.url)))
const main = join(cliDir, 'main.ts')

function isNewEnough(version) {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > MINIMUM[0] || (major === MINIMUM[0] && minor >= MINIMUM[1])
}

/** The first node_modules/.bin/node at or above the client's folder. */
function bundledNode() {
  for (let dir = cliDir; ; dir = dirname(dir)) {
    const candidate = join(dir, 'node_modules', '.bin', 'node')
    if (existsSync(candidate)) return candidate
    if (dirname(dir) === dir) return undefined
  }
}

if (isNewEnough(process.versions.node)) {
  await import(main)
} else {
  const node = bundledNode()
  if (node === undefined) {
    process.stderr.write(
      `sendense needs Node ${MINIMUM.join('.')} or newer, this is ${process.versions.node}. Run: npm run setup\n`,
    )
    process.exitCode = 2
  } else {
    const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: 'inherit' })
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
    child.on('error', (error) => {
      process.stderr.write(`sendense: ${node} cannot be started: ${error.message}\n`)
      process.exitCode = 2
    })
    child.on('exit', (code, signal) => {
      process.exitCode = code ?? (signal === 'SIGINT' ? 130 : 1)
    })
  }
}
