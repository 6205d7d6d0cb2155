// Debian packages: what is missing is installed; services are neither started nor stopped by that.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { cacheDir, run, say, SetupError } from './console.mjs'

const FOR_START = [
  'qemu-system-x86',
  'qemu-system-common',
  'qemu-utils',
  'mariadb-server',
  'mosquitto',
  'busybox-static',
  'e2fsprogs',
  'cpio',
  'grub-common',
  'grub-pc-bin',
  'util-linux',
]
const FOR_TESTS = [
  'iproute2',
  'chromium',
  'nbdkit',
  'libnbd-bin',
  'qemu-guest-agent',
  'openssh-client',
  'openssh-server',
  'fio',
  'ceph-common',
  'ceph-mon',
  'ceph-mgr',
  'ceph-osd',
  'radosgw',
  'mount',
  'restic',
  'borgbackup',
]

const KERNEL = 'linux-image-cloud-amd64'
const GUEST_AGENT = 'qemu-guest-agent'
const POLICY = '/usr/sbin/policy-rc.d'
const POLICY_TEXT =
  '#!/bin/sh\n# written for a moment by the set-up of Sendense: new services are not started\nexit 101\n'

/**
 * Installs what is missing, and downloads the packages that are only unpacked into the guest.
 *
 * @param {{ tests: boolean }} options whether what only tests need is wanted too
 */
export async function ensureDebianPackages({ tests }) {
  const wanted = tests ? [...FOR_START, ...FOR_TESTS] : FOR_START
  const missing = await missingPackages(wanted)
  const missingDebs = missingDownloads()
  if (missing.length === 0 && missingDebs.length === 0) return
  if (!existsSync('/usr/bin/apt-get')) {
    throw new SetupError(`This needs Debian: there is no apt-get. Missing: ${[...missing, ...missingDebs].join(', ')}`)
  }
  if (missing.length > 0) await install(missing)
  if (missingDebs.length > 0) await download(missing.length > 0)
}

/** @param {readonly string[]} wanted */
async function missingPackages(wanted) {
  if (!existsSync('/usr/bin/dpkg-query')) throw new SetupError('This needs Debian: there is no dpkg-query.')
  const status = await run('dpkg-query', ['-W', '-f', '${Package} ${db:Status-Abbrev}\n', '*'], { unlogged: true })
  const installed = new Set()
  for (const line of status.split('\n')) {
    const [name, state] = line.trim().split(/\s+/)
    if (state?.startsWith('ii')) installed.add(name)
  }
  return wanted.filter((name) => !installed.has(name))
}

/** @param {readonly string[]} missing */
async function install(missing) {
  const asRoot = rootPrefix(missing)
  say(`installing Debian packages: ${missing.join(', ')}`)
  await updateLists(asRoot)
  const removePolicy = await forbidServiceStarts(asRoot)
  try {
    const quiet = ['-y', '-q', '--no-install-recommends', '-o', 'Dpkg::Use-Pty=0', '-o', 'DPkg::Lock::Timeout=300']
    await privileged(asRoot, ['env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', 'install', ...quiet, ...missing])
  } finally {
    await removePolicy()
  }
}

/** Old lists may do as well, so a source that does not answer is not the end. */
async function updateLists(/** @type {readonly string[]} */ asRoot) {
  try {
    await privileged(asRoot, ['apt-get', 'update', '-q', '-o', 'DPkg::Lock::Timeout=300'])
  } catch (error) {
    say(`apt-get update had a problem, going on with the lists that are there (${String(error).split('\n', 1)[0]})`)
  }
}

/**
 * invoke-rc.d asks policy-rc.d before it starts a service (policy-rc.d(8) of init-system-helpers). One of the machine's
 * own is left alone.
 */
async function forbidServiceStarts(/** @type {readonly string[]} */ asRoot) {
  if (existsSync(POLICY) && readFileSync(POLICY, 'utf8') !== POLICY_TEXT) return async () => {}
  const directory = mkdtempSync(path.join(tmpdir(), 'sendense-policy-'))
  const file = path.join(directory, 'policy-rc.d')
  writeFileSync(file, POLICY_TEXT)
  await privileged(asRoot, ['install', '-m', '755', file, POLICY])
  rmSync(directory, { recursive: true })
  return async () => {
    await privileged(asRoot, ['rm', '-f', POLICY])
  }
}

function missingDownloads() {
  const names = existsSync(debsDir()) ? readdirSync(debsDir()) : []
  const missing = []
  if (!names.some((name) => /^linux-image-.*-cloud-amd64_.*\.deb$/.test(name))) missing.push(KERNEL)
  if (!names.some((name) => name.startsWith(`${GUEST_AGENT}_`))) missing.push(GUEST_AGENT)
  return missing
}

/** The guest's kernel and agent are unpacked into its disk and never installed here. */
async function download(/** @type {boolean} */ listsAreFresh) {
  say("downloading the guest's Linux kernel")
  let kernel = await findKernel()
  if (kernel === undefined && !listsAreFresh) {
    await updateLists(rootPrefix([KERNEL]))
    kernel = await findKernel()
  }
  if (kernel === undefined) throw new SetupError(`apt knows no ${KERNEL}: are Debian's own sources configured?`)
  mkdirSync(cacheDir, { recursive: true })
  const directory = mkdtempSync(path.join(cacheDir, 'debs-'))
  try {
    const asSelf = process.getuid?.() === 0 ? ['-o', 'APT::Sandbox::User=root'] : []
    try {
      await run('apt-get', ['download', '-q', ...asSelf, kernel, GUEST_AGENT], { cwd: directory })
    } catch (error) {
      if (listsAreFresh) throw error
      await updateLists(rootPrefix([KERNEL])) // the lists may name a version that is gone by now
      await run('apt-get', ['download', '-q', ...asSelf, (await findKernel()) ?? kernel, GUEST_AGENT], {
        cwd: directory,
      })
    }
    rmSync(debsDir(), { recursive: true, force: true })
    renameSync(directory, debsDir())
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** The kernel that the meta package stands for now, such as linux-image-6.1.0-56-cloud-amd64. */
async function findKernel() {
  const answer = await run('apt-cache', ['depends', KERNEL]).catch(() => '')
  return /Depends: (linux-image-\S+-cloud-amd64)/.exec(answer)?.[1]
}

function debsDir() {
  return path.join(cacheDir, 'debs')
}

/** What to put before a command that needs root. */
function rootPrefix(/** @type {readonly string[]} */ missing) {
  if (process.getuid?.() === 0) return []
  if (existsSync('/usr/bin/sudo')) return ['sudo']
  throw new SetupError(
    `Debian packages are missing, and this is neither root nor is there sudo. Have an administrator run:\n` +
      `  apt-get update && apt-get install --no-install-recommends ${missing.join(' ')}`,
  )
}

/**
 * @param {readonly string[]} asRoot
 * @param {readonly string[]} command
 */
async function privileged(asRoot, command) {
  const [file, ...args] = [...asRoot, ...command]
  await run(file, args, { askable: true })
}
