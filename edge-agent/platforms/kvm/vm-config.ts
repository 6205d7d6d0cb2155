import { open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { ByteCount, VmName } from '@sendense/shared/contracts/identifiers.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { z } from 'zod'

/** Also the name of the disk's node in QEMU: a letter first, at most 31 bytes (`id_wellformed`, BDRV node names). */
export const KvmDiskId = z.string().regex(/^(?!sendense-)[A-Za-z][A-Za-z0-9_.-]{0,30}$/)

export const KvmDisk = z.strictObject({
  diskId: KvmDiskId,
  /** Beside vm.json. */
  file: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$/),
  /** Only QCOW2 keeps dirty bitmaps: a raw disk is compared each time. */
  format: z.enum(['qcow2', 'raw']),
})
export type KvmDisk = z.infer<typeof KvmDisk>

/** How the guest reaches the outside: not at all, or through QEMU's user-mode network. */
export const KvmNetwork = z.enum(['none', 'user'])

/** `vm.json`: one VM of a plain-QEMU host. */
export const VmConfig = z.strictObject({
  version: z.literal(1),
  /** The VM's platformRef. */
  vmId: z.uuid(),
  /** Also its directory. */
  name: VmName,
  memoryBytes: ByteCount.min(1024 * 1024),
  cpuCount: z.int().min(1).max(255),
  disks: z
    .array(KvmDisk)
    .min(1)
    .max(24)
    .refine((disks) => new Set(disks.map((disk) => disk.diskId)).size === disks.length, 'disk ids must differ'),
  firmware: z.literal('bios'),
  network: KvmNetwork,
  /** Where a restore made this VM: the id it was given then. */
  creationId: z.uuid().optional(),
})
export type VmConfig = z.infer<typeof VmConfig>

const FILE_NAME = 'vm.json'

/** Rejects with `source.vm_not_found` where there is none, `source.protocol_violation` where it cannot be trusted. */
export async function readVmConfig(dir: string): Promise<VmConfig> {
  const path = join(dir, FILE_NAME)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    throw new PlatformError('source.vm_not_found', `there is no ${path}`, { cause: error })
  }
  try {
    return VmConfig.parse(JSON.parse(text))
  } catch (error) {
    throw new PlatformError('source.protocol_violation', `${path} is not a VM's configuration`, { cause: error })
  }
}

/** Durable when it resolves. */
export async function writeVmConfig(dir: string, config: VmConfig): Promise<void> {
  const path = join(dir, FILE_NAME)
  await using file = await open(`${path}.new`, 'w', 0o600)
  await file.writeFile(`${JSON.stringify(VmConfig.parse(config), null, 2)}\n`)
  await file.sync()
  await rename(`${path}.new`, path)
}
