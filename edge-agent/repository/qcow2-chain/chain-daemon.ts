import { join } from 'node:path'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { checkQcow2Image } from '../../qemu/qemu-img.ts'
import {
  type BlockNode,
  startStorageDaemon,
  type StorageDaemon,
  type StorageExport,
} from '../../qemu/storage-daemon.ts'
import type { ChainContext } from './chain-context.ts'

export interface ChainDaemonOptions {
  readonly nodes: readonly BlockNode[]
  readonly exports: readonly StorageExport[]
  /** The sealed layers among the nodes, relative to the repository. */
  readonly layers: readonly string[]
  /** As StorageDaemonOptions has it. */
  readonly ioThreadsMax?: number
}

/**
 * Starts a storage daemon over sealed layers. Rejects with `repository.chunk_corrupt` when it cannot open them because
 * one is damaged, otherwise as `startStorageDaemon`.
 */
export async function startChainDaemon(
  context: ChainContext,
  { layers, ...options }: ChainDaemonOptions,
  call: CallOptions,
): Promise<StorageDaemon> {
  const { runtimeDir, layerSecret } = context
  try {
    return await startStorageDaemon({ runtimeDir, ...options, secret: layerSecret }, call)
  } catch (error) {
    if (isPlatformError(error, 'qemu.start_failed')) await expectWholeLayers(context, layers, error, call)
    throw error
  }
}

async function expectWholeLayers(
  { dir, layerSecret }: ChainContext,
  layers: readonly string[],
  cause: PlatformError,
  { signal }: CallOptions,
): Promise<void> {
  for (const layer of layers) {
    const damaged = new PlatformError('repository.chunk_corrupt', `layer ${layer} is damaged: ${cause.message}`, {
      cause,
      details: { layer },
    })
    try {
      const report = await checkQcow2Image(join(dir, layer), { signal, secret: layerSecret })
      if (report.corruptions > 0) throw damaged
    } catch (error) {
      throw isPlatformError(error, 'qemu.command_failed') ? damaged : error
    }
  }
}
