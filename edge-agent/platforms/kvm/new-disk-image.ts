import { join } from 'node:path'
import type { CallOptions } from '../../block/block-source.ts'
import { createQcow2Image, expectSuccess } from '../../qemu/qemu-img.ts'
import type { KvmDisk } from './vm-config.ts'

export interface NewDiskImage {
  readonly diskId: string
  /** Copied, with its format named: formats are never guessed from what a guest may have written. */
  readonly from?: { readonly path: string; readonly format: 'qcow2' | 'raw' }
  /** Size of a new, empty disk. */
  readonly sizeBytes?: number
}

/** Makes `<diskId>.qcow2` in a VM's directory. Rejects with `qemu.command_failed`, `qemu.start_failed`. */
export async function createDiskImage(dir: string, image: NewDiskImage, options: CallOptions): Promise<KvmDisk> {
  const file = `${image.diskId}.qcow2`
  const path = join(dir, file)
  if (image.from === undefined) {
    await createQcow2Image({ path, sizeBytes: image.sizeBytes ?? 0 }, options)
  } else {
    const layout = ['-o', 'compat=1.1,cluster_size=65536,lazy_refcounts=off']
    const { path: source, format } = image.from
    await expectSuccess(['convert', '-f', format, '-O', 'qcow2', ...layout, source, path], options)
  }
  return { diskId: image.diskId, file, format: 'qcow2' }
}
