import { copyFile, cp, mkdir, readFile, realpath, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { runCommand } from '../processes/run-command.ts'

const DIRECTORIES = [
  'dev',
  'proc',
  'sys',
  'run',
  'tmp',
  'root',
  'boot',
  'bin',
  'usr/bin',
  'usr/sbin',
  'var/lib/sendense',
]

export interface RootTreeInputs {
  /** Files of ours that go into the tree as they are. */
  readonly overlay: string
  readonly busybox: string
  /** The guest agent's package, unpacked. */
  readonly guestAgentRoot: string
  readonly kernel: string
  readonly initramfs: string
  readonly target: string
}

/** Lays out the guest's root directory: busybox with all its names, the QEMU guest agent, blkdiscard, kernel. */
export async function buildRootTree(inputs: RootTreeInputs, options: { signal: AbortSignal }): Promise<void> {
  const { target } = inputs
  for (const directory of DIRECTORIES) await mkdir(path.join(target, directory), { recursive: true })
  await symlink('bin', path.join(target, 'sbin'))
  await cp(inputs.overlay, target, { recursive: true })
  await copyFile(inputs.busybox, path.join(target, 'bin/busybox'))
  await installProgram(path.join(inputs.guestAgentRoot, 'usr/sbin/qemu-ga'), 'usr/sbin/qemu-ga', target, options)
  await installProgram(await realpath('/usr/sbin/blkdiscard'), 'usr/sbin/blkdiscard', target, options)
  await symlink('../usr/sbin/blkdiscard', path.join(target, 'bin/blkdiscard'))

  const applets = (await runCommand(inputs.busybox, ['--list'], options)).split('\n').filter((name) => name !== '')
  for (const applet of applets) {
    await symlink('busybox', path.join(target, 'bin', applet)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error // ours stands there already
    })
  }
  await writeFile(path.join(target, 'boot/vmlinuz'), await readFile(inputs.kernel))
  await writeFile(path.join(target, 'boot/initrd'), await readFile(inputs.initramfs))
}

/** Copies a program and every shared library it loads, each at the path the program looks for it. */
async function installProgram(
  program: string,
  place: string,
  target: string,
  options: { signal: AbortSignal },
): Promise<void> {
  await copyFile(program, path.join(target, place))
  const libraries = parseLibraries(await runCommand('ldd', [program], options), program)
  for (const library of libraries) {
    await mkdir(path.join(target, path.dirname(library)), { recursive: true })
    await copyFile(await realpath(library), path.join(target, library))
  }
}

/** Absolute paths out of ldd's answer. Rejects with `setup.package_missing` when one is not on this machine. */
export function parseLibraries(text: string, program: string): string[] {
  const libraries: string[] = []
  for (const line of text.split('\n')) {
    if (line.includes('=> not found')) {
      throw new PlatformError('setup.package_missing', `${path.basename(program)} needs a library: ${line.trim()}`)
    }
    const file = /(?:^|=> |\s)(\/\S+) \(0x/.exec(line)?.[1]
    if (file !== undefined) libraries.push(file)
  }
  return libraries
}
