// What people see while set-up works, and how a program is run with its output in a log.
import { spawn } from 'node:child_process'
import { appendFileSync, mkdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'

export const checkoutDir = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), '../..')
export const cacheDir = path.join(checkoutDir, '.sendense/cache')
const logFile = path.join(checkoutDir, '.sendense/setup.log')

/** An end that people can act on; shown without a stack trace. */
export class SetupError extends Error {}

export function say(/** @type {string} */ line) {
  process.stdout.write(`\u203a ${line}\n`)
}

/**
 * Runs a program without a shell; all it says goes to the set-up log. Resolves with its standard output; rejects with a
 * SetupError that shows the end of the log.
 *
 * @param {string} file
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, askable?: boolean, unlogged?: boolean }} [options]
 *   askable: may ask for a password; unlogged: its answer is for the program only
 * @returns {Promise<string>}
 */
export async function run(file, args, options = {}) {
  mkdirSync(path.dirname(logFile), { recursive: true })
  appendFileSync(logFile, `\n$ ${file} ${args.join(' ')}\n`)
  const { askable = false, unlogged = false, ...settings } = options
  const child = spawn(file, args, {
    cwd: checkoutDir,
    ...settings,
    stdio: [askable ? 'inherit' : 'ignore', 'pipe', 'pipe'],
  })
  let output = ''
  child.stdout.on('data', (bytes) => {
    output += String(bytes)
    if (!unlogged) appendFileSync(logFile, bytes)
  })
  child.stderr.on('data', (bytes) => appendFileSync(logFile, bytes))
  const code = await new Promise((resolve, reject) => {
    child.once('error', (error) => reject(new SetupError(`${file} cannot be run: ${error.message}`)))
    child.once('close', resolve)
  })
  if (code !== 0) {
    const tail = readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-20).join('\n')
    throw new SetupError(`${file} ${args[0] ?? ''} failed (exit code ${code}). The end of ${logFile}:\n${tail}`)
  }
  return output
}
