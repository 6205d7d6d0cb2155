import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { NbdEndpoint } from '@sendense/edge-agent/block/block-endpoint.ts'
import type { CallOptions } from '@sendense/edge-agent/block/block-source.ts'
import { openNbdSink } from '@sendense/edge-agent/nbd/client/nbd-sink.ts'
import { QmpClient } from '@sendense/edge-agent/qemu/qmp-client.ts'
import { z } from 'zod'

const START_TIMEOUT_MS = 10_000
const POLL_MS = 10
const NODE = 'image'
const BITMAP = 'changes'
const EXPORT = 'frozen'
/** QEMU's own granularity for bitmaps of disks. */
const GRANULARITY_BYTES = 64 * 1024

export interface ImagePiece {
  readonly offsetBytes: number
  readonly bytes: Uint8Array
}

/**
 * A raw image under a `qemu-storage-daemon` that tracks what is written to it in a dirty bitmap: where a backup finds its
 * incremental. Other programs may read the file meanwhile.
 */
export interface TrackedImage extends AsyncDisposable {
  /** Writes through QEMU, so that the bitmap knows. */
  write(pieces: Iterable<ImagePiece>, options: CallOptions): Promise<void>
  /** Serves the image, unchanging, with what was written since the last `forget`. */
  freeze(options: CallOptions): Promise<NbdEndpoint>
  /** Ends the export and forgets what was dirty. */
  forget(options: CallOptions): Promise<void>
}

export async function openTrackedImage(path: string, dir: string, call: CallOptions): Promise<TrackedImage> {
  const nbdPath = join(dir, 'tracked.sock')
  const qmpPath = join(dir, 'tracked.qmp')
  await Promise.all([nbdPath, qmpPath].map(async (socket) => await rm(socket, { force: true })))
  const node = { 'driver': 'raw', 'node-name': NODE, 'discard': 'unmap', 'file': { driver: 'file', filename: path } }
  const server = { addr: { type: 'unix', path: nbdPath } }
  const daemon = spawn(
    'qemu-storage-daemon',
    [
      '--chardev',
      `socket,id=qmp,path=${qmpPath},server=on,wait=off`,
      '--monitor',
      'chardev=qmp',
      '--blockdev',
      JSON.stringify(node),
      '--nbd-server',
      JSON.stringify(server),
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  )
  const exited = once(daemon, 'exit')
  await using undo = new AsyncDisposableStack()
  undo.defer(async () => {
    daemon.kill('SIGKILL')
    await exited
  })
  const deadline = Date.now() + START_TIMEOUT_MS
  const qmp = undo.use(await connect())

  async function connect(): Promise<QmpClient> {
    for (;;) {
      try {
        return await QmpClient.connect(qmpPath, call)
      } catch (error) {
        if (Date.now() > deadline) throw error
        await delay(POLL_MS)
      }
    }
  }

  const execute = async (command: string, args: object, { signal }: CallOptions): Promise<void> => {
    await qmp.execute(command, args, z.unknown(), { signal })
  }
  const bitmap = { node: NODE, name: BITMAP }
  await execute('block-dirty-bitmap-add', { ...bitmap, granularity: GRANULARITY_BYTES }, call)
  const endpoint = (exportName: string): NbdEndpoint => {
    return { kind: 'nbd', address: { transport: 'unix', path: nbdPath }, exportName }
  }
  const exportNode = async (name: string, more: object, options: CallOptions): Promise<void> => {
    await execute('block-export-add', { 'type': 'nbd', 'id': name, 'node-name': NODE, name, ...more }, options)
  }
  const removeExport = async (name: string, options: CallOptions): Promise<void> => {
    const gone = new Promise<void>((resolve) => {
      const listening = qmp.subscribe({
        event: (event) => {
          if (event.name !== 'BLOCK_EXPORT_DELETED') return
          listening[Symbol.dispose]()
          resolve()
        },
      })
    })
    await execute('block-export-del', { id: name, mode: 'hard' }, options)
    await gone
  }
  const owned = undo.move()
  return {
    write: async (pieces, options) => {
      await exportNode('writable', { writable: true }, options)
      {
        await using sink = await openNbdSink(endpoint('writable'), options)
        for (const { offsetBytes, bytes } of pieces) await sink.write(offsetBytes, bytes, options)
        await sink.flush(options)
      }
      await removeExport('writable', options)
    },
    freeze: async (options) => {
      await execute('block-dirty-bitmap-disable', bitmap, options)
      await exportNode(EXPORT, { bitmaps: [BITMAP] }, options)
      return { ...endpoint(EXPORT), dirtyContext: `qemu:dirty-bitmap:${BITMAP}` }
    },
    forget: async (options) => {
      await removeExport(EXPORT, options)
      await execute('block-dirty-bitmap-clear', bitmap, options)
      await execute('block-dirty-bitmap-enable', bitmap, options)
    },
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  }
}
