import { copyFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { BlockSink } from '../../block/block-sink.ts'
import type { BlockSource, CallOptions } from '../../block/block-source.ts'
import { type NbdSink, openNbdSink } from '../../nbd/client/nbd-sink.ts'
import { openNbdSource } from '../../nbd/client/nbd-source.ts'
import { createQcow2Image, expectSuccess } from '../../qemu/qemu-img.ts'
import { startStorageDaemon, type StorageDaemon } from '../../qemu/storage-daemon.ts'

const BITMAP = 'changes'
export const BITMAP_GRANULARITY_BYTES = 64 * 1024

/** A disk image with a dirty bitmap, written and frozen through qemu-storage-daemon: a VM's disk without a VM, for tests. */
export interface ChangingImage {
  readonly sizeBytes: number
  /** Lets `work` write to the disk; all of it is in the image, and the bitmap, when this resolves. */
  change(work: (disk: BlockSink & Pick<NbdSink, 'trim'>) => Promise<void>): Promise<void>
  /**
   * Lets `work` read the disk as it is; its extents are dirty where it changed since the last freeze that succeeded.
   */
  freeze<T>(work: (source: BlockSource) => Promise<T>): Promise<T>
}

export async function makeChangingImage(dir: string, sizeBytes: number, call: CallOptions): Promise<ChangingImage> {
  const path = join(dir, 'changing.qcow2')
  const granularity = ['-g', String(BITMAP_GRANULARITY_BYTES)]
  await createQcow2Image({ path, sizeBytes }, call)
  await expectSuccess(['bitmap', '--add', ...granularity, '-f', 'qcow2', path, BITMAP], call)
  const serve = async (file: string, writable: boolean): Promise<StorageDaemon> => {
    const node = { 'driver': 'qcow2', 'node-name': 'disk', 'discard': 'unmap', 'read-only': !writable, 'backing': null }
    const bitmaps = writable ? {} : { bitmaps: [BITMAP] }
    return await startStorageDaemon(
      {
        runtimeDir: dir,
        nodes: [{ ...node, file: { driver: 'file', filename: file, discard: 'unmap' } }],
        exports: [{ name: 'disk', nodeName: 'disk', writable, ...bitmaps }],
      },
      call,
    )
  }
  return {
    sizeBytes,
    change: async (work) => {
      await using daemon = await serve(path, true)
      {
        await using disk = await openNbdSink(daemon.endpoint('disk'), call)
        await work(disk)
        await disk.flush(call)
      }
      await daemon.stop(call)
    },
    freeze: async (work) => {
      const frozen = join(dir, 'frozen.qcow2')
      await copyFile(path, frozen)
      // A bitmap that records cannot be exported read-only.
      await expectSuccess(['bitmap', '--disable', '-f', 'qcow2', frozen, BITMAP], call)
      try {
        await using daemon = await serve(frozen, false)
        await using source = await openNbdSource(daemon.endpoint('disk'), call)
        const result = await work(source)
        await expectSuccess(['bitmap', '--clear', '-f', 'qcow2', path, BITMAP], call)
        return result
      } finally {
        await rm(frozen, { force: true })
      }
    },
  }
}
