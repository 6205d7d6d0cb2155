import { copyFile, cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { runCommand } from '../processes/run-command.ts'

const MODULES_WANTED = ['virtio_pci', 'virtio_blk', 'ext4', 'virtio_console', 'virtio_net']

export interface InitramfsInputs {
  /** A Debian kernel package, unpacked. */
  readonly kernelRoot: string
  readonly initScript: string
  readonly busybox: string
  /** Empty directory for the tree. */
  readonly workDir: string
  readonly target: string
}

/** Writes the gzip-compressed initial file system: busybox, the modules for disk and file system in loading order, init. */
export async function buildInitramfs(inputs: InitramfsInputs, options: { signal: AbortSignal }): Promise<void> {
  const { kernelRoot, workDir } = inputs
  for (const directory of ['bin', 'dev', 'proc', 'sys', 'disk', 'modules']) {
    await mkdir(path.join(workDir, directory), { recursive: true })
  }
  await copyFile(inputs.busybox, path.join(workDir, 'bin/busybox'))
  await copyFile(inputs.initScript, path.join(workDir, 'init'))
  const order = await copyModules(kernelRoot, path.join(workDir, 'modules'), inputs.busybox, options)
  await writeFile(path.join(workDir, 'modules/order'), order.map((name) => `${name}\n`).join(''))

  const names = (await readdir(workDir, { recursive: true })).toSorted()
  const archive = path.join(path.dirname(inputs.target), 'initrd.cpio')
  await runCommand('cpio', ['--quiet', '-o', '-H', 'newc', '-R', '0:0', '-O', archive], {
    ...options,
    cwd: workDir,
    input: names.map((name) => `${name}\n`).join(''),
  })
  await writeFile(inputs.target, await promisify(gzip)(await readFile(archive)))
}

/** Copies the wanted modules with all they need; returns their file names, each after the ones it depends on. */
async function copyModules(
  kernelRoot: string,
  target: string,
  busybox: string,
  options: { signal: AbortSignal },
): Promise<string[]> {
  const [version] = await readdir(path.join(kernelRoot, 'lib/modules'))
  if (version === undefined) throw new PlatformError('setup.package_missing', 'the kernel package holds no modules')
  const base = path.join(kernelRoot, 'lib/modules', version)
  await decompressModules(base, busybox, options)
  await runCommand(busybox, ['depmod', '-b', kernelRoot, version], options)
  const dependencies = parseModuleDependencies(await readFile(path.join(base, 'modules.dep'), 'utf8'))
  const builtIn = new Set((await readFile(path.join(base, 'modules.builtin'), 'utf8')).split('\n').map(moduleName))
  const files = moduleLoadOrder(
    dependencies,
    MODULES_WANTED.filter((name) => !builtIn.has(name)),
  )
  for (const file of files) await cp(path.join(base, file), path.join(target, path.basename(file)))
  return files.map((file) => path.basename(file))
}

/** Newer Debian kernels ship modules as .ko.xz; the small insmod reads plain ones only. */
async function decompressModules(base: string, busybox: string, options: { signal: AbortSignal }): Promise<void> {
  const names = await readdir(base, { recursive: true })
  const packed = names.filter((name) => name.endsWith('.ko.xz')).map((name) => path.join(base, name))
  for (let start = 0; start < packed.length; start += 500) {
    await runCommand(busybox, ['unxz', ...packed.slice(start, start + 500)], options)
  }
}

/** modules.dep (modprobe.d, depmod(8)): `path: path path …`, one module a line. */
export function parseModuleDependencies(text: string): Map<string, readonly string[]> {
  const dependencies = new Map<string, readonly string[]>()
  for (const line of text.split('\n')) {
    const [file, rest] = line.split(':', 2)
    if (file === undefined || rest === undefined) continue
    dependencies.set(file, rest.trim() === '' ? [] : rest.trim().split(/\s+/))
  }
  return dependencies
}

/** The files to load for the wanted modules, each once and after everything it depends on. */
export function moduleLoadOrder(dependencies: Map<string, readonly string[]>, wanted: readonly string[]): string[] {
  const fileOf = new Map([...dependencies.keys()].map((file) => [moduleName(file), file]))
  const order = new Set<string>()
  function add(file: string): void {
    if (order.has(file)) return
    for (const needed of dependencies.get(file) ?? []) add(needed)
    order.add(file)
  }
  for (const name of wanted) {
    const file = fileOf.get(name)
    if (file === undefined) throw new PlatformError('setup.package_missing', `the kernel has no module ${name}`)
    add(file)
  }
  return [...order]
}

function moduleName(file: string): string {
  return path.basename(file.trim(), '.ko').replaceAll('-', '_')
}
