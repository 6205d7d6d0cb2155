import { open } from 'node:fs/promises'
import path from 'node:path'
import type { KvmVm } from '@sendense/edge-agent/platforms/kvm/kvm-host.ts'
import { runCommand } from '@sendense/infra/processes/run-command.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

const options = () => ({ signal: AbortSignal.timeout(120_000) })

/** Image file of one disk of a VM. */
export function diskFile(vm: KvmVm, diskId: string): string {
  const disk = vm.config.disks.find((candidate) => candidate.diskId === diskId)
  if (disk === undefined) throw new PlatformError('resource.not_found', `${vm.config.name} has no disk ${diskId}`)
  return path.join(vm.dir, disk.file)
}

/**
 * Copies the disks of a running VM whose guest has come to rest, as raw files by disk id. Made by qemu-img from the
 * images, without the product: the oracle that restored disks are compared with.
 */
export async function copyDisks(vm: KvmVm, directory: string): Promise<Map<string, string>> {
  const copies = new Map<string, string>()
  for (const { diskId } of vm.config.disks) {
    const copy = path.join(directory, `${diskId}.raw`)
    await runCommand('qemu-img', ['convert', '-U', '-O', 'raw', diskFile(vm, diskId), copy], options())
    copies.set(diskId, copy)
  }
  return copies
}

/** The two read alike over their whole, equal size. Rejects with what qemu-img says of the first difference. */
export async function expectSameContent(rawCopy: string, image: string): Promise<void> {
  await runCommand('qemu-img', ['compare', '-U', '-f', 'raw', '-F', 'qcow2', rawCopy, image], options())
}

/** A disk image as a raw file, for tests that look at its bytes. */
export async function convertToRaw(image: string, target: string): Promise<string> {
  await runCommand('qemu-img', ['convert', '-U', '-O', 'raw', image, target], options())
  return target
}

/** `lengthBytes` of a raw file from an offset on. */
export async function readRange(rawFile: string, offsetBytes: number, lengthBytes: number): Promise<Buffer> {
  await using file = await open(rawFile)
  const buffer = Buffer.alloc(lengthBytes)
  const { bytesRead } = await file.read(buffer, 0, lengthBytes, offsetBytes)
  return buffer.subarray(0, bytesRead)
}
