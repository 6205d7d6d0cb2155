// Plain JavaScript that any Node from 18 on can run.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import process from 'node:process'

const MINIMUM = [24, 12]
const NOT_STARTED = 2

/**
 * Runs a program that needs a newer Node than the machine may have: in this process where its Node is new enough,
 * otherwise in one of the Node that the repository brings along. Arguments, standard streams, signals and the exit code
 * are passed on; a program that is ended by a signal is 128 and its number, one that cannot be started is 2.
 *
 * @param {{ name: string, main: string }} program its name for messages, and the absolute path of its main file
 * @returns {Promise<void>}
 */
export async function launchProgram({ name, main }) {
  if (isNewEnough(process.versions.node)) {
    await import(main)
    return
  }
  const node = bundledNode(dirname(main))
  if (node === undefined) {
    const wanted = MINIMUM.join('.')
    process.stderr.write(
      `${name} needs Node ${wanted} or newer, this is ${process.versions.node}. Run: npm run setup\n`,
    )
    process.exitCode = NOT_STARTED
    return
  }
  const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: 'inherit' })
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  // A terminal sends Ctrl-C to both, and a second one often means: at once.
  process.on('SIGINT', () => hasTerminal() || child.kill('SIGINT'))
  child.on('error', (error) => {
    process.stderr.write(`${name}: ${node} cannot be started: ${error.message}\n`)
    process.exitCode = NOT_STARTED
  })
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? 128 + (constants.signals[signal] ?? 0)
  })
}

function isNewEnough(version) {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > MINIMUM[0] || (major === MINIMUM[0] && minor >= MINIMUM[1])
}

function hasTerminal() {
  return [process.stdin, process.stdout, process.stderr].some(({ isTTY }) => isTTY)
}

/** The first node_modules/.bin/node at or above a folder. */
function bundledNode(from) {
  for (let folder = from; ; folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', '.bin', 'node')
    if (existsSync(candidate)) return candidate
    if (dirname(folder) === folder) return undefined
  }
}
