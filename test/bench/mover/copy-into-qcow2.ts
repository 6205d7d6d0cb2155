import type { NbdEndpoint } from '@sendense/edge-agent/block/block-endpoint.ts'
import { createQcow2Image } from '@sendense/edge-agent/qemu/qemu-img.ts'
import { startStorageDaemon } from '@sendense/edge-agent/qemu/storage-daemon.ts'
import { NEW_LAYER_IO_THREADS } from '@sendense/edge-agent/repository/qcow2-chain/layer-graph.ts'

export interface NewImage {
  readonly path: string
  readonly sizeBytes: number
  /** For the daemon's socket. */
  readonly runtimeDir: string
}

/** Makes an image and a storage daemon for it, as a full backup's is started; the image is whole when this resolves. */
export async function copyIntoNewQcow2(
  { path, sizeBytes, runtimeDir }: NewImage,
  copy: (target: NbdEndpoint) => Promise<void>,
  { signal }: { readonly signal: AbortSignal },
): Promise<void> {
  await createQcow2Image({ path, sizeBytes }, { signal })
  const file = { driver: 'file', filename: path }
  const node = { 'driver': 'qcow2', 'node-name': 'disk', 'discard': 'unmap', file }
  const exported = { name: 'disk', nodeName: 'disk', writable: true }
  const options = { runtimeDir, nodes: [node], exports: [exported], ioThreadsMax: NEW_LAYER_IO_THREADS }
  await using daemon = await startStorageDaemon(options, { signal })
  await copy(daemon.endpoint('disk'))
  await daemon.stop({ signal })
}
