import { createHash } from 'node:crypto'
import { cp, mkdir, mkdtemp, open, readdir, readFile, rename, rm, stat, truncate } from 'node:fs/promises'
import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { runCommand } from '../processes/run-command.ts'
import { buildBootArea, PARTITION_OFFSET_BYTES } from './boot-sector.ts'
import { buildInitramfs } from './initramfs.ts'
import { buildRootTree } from './root-tree.ts'

const SYSTEM_DISK_BYTES = 512 * 1024 * 1024
const DATA_DISK_BYTES = 256 * 1024 * 1024
const BUSYBOX = '/bin/busybox'
const GRUB_MODULES_DIR = '/usr/lib/grub/i386-pc'
const GRUB_MODULES = ['biosdisk', 'part_msdos', 'ext2', 'linux', 'normal', 'echo']
/** Written out, so that the boot loader can read what any version of mkfs makes. */
const EXT4_FEATURES =
  'none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum'

export interface GuestImage {
  /** qcow2, bootable by BIOS: ext4 root on its first partition. */
  readonly systemDisk: string
  /** qcow2, empty: for raw use as /dev/vdb. */
  readonly dataDisk: string
  readonly directory: string
}

export interface GuestImageOptions {
  readonly signal: AbortSignal
  readonly log?: (line: string) => void
}

/**
 * The small Linux guest of demo and tests, built once for each content of this folder and of the packages it is made of.
 * The two disks are shared and read-only by agreement: copy them (`copyGuestDisks`) before a VM writes.
 *
 * @param cacheDir holds `debs/` with the packages that set-up downloaded, and receives `guest-<hash>/`
 */
export async function ensureGuestImage(cacheDir: string, options: GuestImageOptions): Promise<GuestImage> {
  const sources = await findSources(path.join(cacheDir, 'debs'))
  const directory = path.join(cacheDir, `guest-${await contentHash(sources)}`)
  const image = {
    directory,
    systemDisk: path.join(directory, 'system.qcow2'),
    dataDisk: path.join(directory, 'data.qcow2'),
  }
  if (await exists(directory)) return image

  options.log?.('building the guest image')
  const workDir = await mkdtemp(path.join(cacheDir, 'guest-build-'))
  try {
    await buildDisks(workDir, sources, options)
    await rename(path.join(workDir, 'out'), directory).catch(async (error: unknown) => {
      if (!(await exists(directory))) throw error // another process was faster: its result is the same
    })
  } finally {
    await rm(workDir, { recursive: true, force: true })
  }
  return image
}

/** Copies both disks into a directory as `disk0.qcow2` (system) and `disk1.qcow2` (data), and returns their paths. */
export async function copyGuestDisks(image: GuestImage, directory: string): Promise<{ disk0: string; disk1: string }> {
  const copies = { disk0: path.join(directory, 'disk0.qcow2'), disk1: path.join(directory, 'disk1.qcow2') }
  await cp(image.systemDisk, copies.disk0)
  await cp(image.dataDisk, copies.disk1)
  return copies
}

interface Sources {
  readonly kernelPackage: string
  readonly guestAgentPackage: string
}

async function findSources(debsDir: string): Promise<Sources> {
  const names = await readdir(debsDir).catch(() => [])
  const newest = (pattern: RegExp): string => {
    const name = names
      .filter((candidate) => pattern.test(candidate))
      .toSorted()
      .at(-1)
    if (name === undefined)
      throw new PlatformError('setup.package_missing', `no package ${pattern.source} in ${debsDir}`)
    return path.join(debsDir, name)
  }
  return {
    kernelPackage: newest(/^linux-image-.*-cloud-amd64_.*\.deb$/),
    guestAgentPackage: newest(/^qemu-guest-agent_.*\.deb$/),
  }
}

async function contentHash(sources: Sources): Promise<string> {
  const hash = createHash('sha256')
  for (const file of (await readdir(import.meta.dirname, { recursive: true })).toSorted()) {
    const full = path.join(import.meta.dirname, file)
    if (file.endsWith('.md') || file.includes('.test.') || !(await stat(full)).isFile()) continue
    hash.update(`${file}\n`).update(await readFile(full))
  }
  hash.update(path.basename(sources.kernelPackage)).update(path.basename(sources.guestAgentPackage))
  return hash.digest('hex').slice(0, 16)
}

async function buildDisks(workDir: string, sources: Sources, options: GuestImageOptions): Promise<void> {
  const { signal } = options
  const place = (name: string): string => path.join(workDir, name)
  for (const name of ['kernel', 'agent', 'initramfs', 'root', 'out']) await mkdir(place(name))
  await runCommand('dpkg-deb', ['-x', sources.kernelPackage, place('kernel')], { signal })
  await runCommand('dpkg-deb', ['-x', sources.guestAgentPackage, place('agent')], { signal })
  const kernel = (await readdir(place('kernel/boot'))).find((name) => name.startsWith('vmlinuz-'))
  if (kernel === undefined) throw new PlatformError('setup.package_missing', 'the kernel package holds no kernel')

  const initramfs = {
    kernelRoot: place('kernel'),
    initScript: path.join(import.meta.dirname, 'initramfs-init'),
    busybox: BUSYBOX,
    workDir: place('initramfs'),
    target: place('initrd'),
  }
  await buildInitramfs(initramfs, { signal })
  const root = {
    overlay: path.join(import.meta.dirname, 'root'),
    busybox: BUSYBOX,
    guestAgentRoot: place('agent'),
    kernel: place(`kernel/boot/${kernel}`),
    initramfs: place('initrd'),
    target: place('root'),
  }
  await buildRootTree(root, { signal })
  await writeSystemDisk(workDir, { signal })
  await runCommand('qemu-img', ['create', '-q', '-f', 'qcow2', place('out/data.qcow2'), String(DATA_DISK_BYTES)], {
    signal,
  })
}

async function writeSystemDisk(workDir: string, options: { signal: AbortSignal }): Promise<void> {
  const raw = path.join(workDir, 'system.raw')
  const core = path.join(workDir, 'core.img')
  const config = path.join(import.meta.dirname, 'grub.cfg')
  const grub = ['-O', 'i386-pc', '-d', GRUB_MODULES_DIR, '-p', '(hd0,msdos1)/boot/grub', '-c', config, '-o', core]
  await runCommand('grub-mkimage', [...grub, ...GRUB_MODULES], options)

  await using file = await open(raw, 'w')
  await truncate(raw, SYSTEM_DISK_BYTES)
  const bootImage = await readFile(path.join(GRUB_MODULES_DIR, 'boot.img'))
  await file.write(buildBootArea(bootImage, await readFile(core), SYSTEM_DISK_BYTES))

  const partitionKib = (SYSTEM_DISK_BYTES - PARTITION_OFFSET_BYTES) / 1024
  const extended = `offset=${PARTITION_OFFSET_BYTES},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,nodiscard`
  const layout = ['-N', '8192', '-J', 'size=8', '-m', '0', '-L', 'sendense-root', '-d', path.join(workDir, 'root')]
  await runCommand(
    'mke2fs',
    ['-q', '-F', '-t', 'ext4', '-b', '4096', '-O', EXT4_FEATURES, '-E', extended, ...layout, raw, `${partitionKib}k`],
    options,
  )
  const target = path.join(workDir, 'out/system.qcow2')
  await runCommand('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, target], options)
}

async function exists(file: string): Promise<boolean> {
  return await stat(file).then(
    () => true,
    () => false,
  )
}
