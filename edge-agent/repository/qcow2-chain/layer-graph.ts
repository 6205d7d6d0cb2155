import { join } from 'node:path'
import { luksNodeOptions } from '../../qemu/qemu-img.ts'
import type { QemuSecret } from '../../qemu/qemu-secret.ts'
import type { BlockNode } from '../../qemu/storage-daemon.ts'
import type { ChainContext } from './chain-context.ts'
import { checkLayerHeader } from './qcow2-header.ts'

/** Threads that write one new layer: more of them would only wait for the file's lock. */
export const NEW_LAYER_IO_THREADS = 2

/** Whose layers they are. */
export type LayerPlace = Pick<ChainContext, 'dir' | 'layerSecret'>

export interface LayerGraph {
  /** Lower nodes first. */
  readonly nodes: readonly BlockNode[]
  /** The node that reads as the whole content; null where there are no layers. */
  readonly top: string | null
}

/**
 * A chain of sealed layers, read-only. Every format and every backing is named, so that nothing a header or a
 * guest's data says is ever followed, and nothing is probed.
 * @param layers as in a manifest: newest first, relative to the repository
 * @param prefix of the node names; at most 20 characters, unique in the daemon (QEMU takes 31)
 */
export function readOnlyChain({ dir, layerSecret }: LayerPlace, layers: readonly string[], prefix: string): LayerGraph {
  let below: string | null = null
  const nodes: BlockNode[] = []
  for (const layer of layers.toReversed()) {
    const name = `${prefix}-l${nodes.length}`
    nodes.push({
      'driver': 'qcow2',
      'node-name': name,
      'read-only': true,
      'auto-read-only': false,
      'backing': below,
      ...luksNodeOptions(layerSecret),
      'file': { 'driver': 'file', 'filename': join(dir, layer), 'read-only': true, 'auto-read-only': false },
    })
    below = name
  }
  return { nodes, top: below }
}

/**
 * The new layer of a backup, writable. Trims are ignored (`discard` is off): nothing can uncover what lies below.
 * @param backing node of the parent's content; null for a full backup
 */
export function writableLayer(
  { layerSecret }: LayerPlace,
  { path, name, backing }: { readonly path: string; readonly name: string; readonly backing: string | null },
): BlockNode {
  return {
    'driver': 'qcow2',
    'node-name': name,
    'discard': 'ignore',
    'backing': backing,
    ...luksNodeOptions(layerSecret),
    'file': { driver: 'file', filename: path, discard: 'ignore' },
  }
}

/** For a new layer's image: what it is encrypted with, if anything. */
export function secretOf({ layerSecret }: LayerPlace): { readonly secret?: QemuSecret } {
  return layerSecret === undefined ? {} : { secret: layerSecret }
}

/** Rejects with `repository.chunk_corrupt` unless the file is a sealed layer, as all layers of this repository are. */
export async function expectLayer({ dir, layerSecret }: LayerPlace, layer: string, sizeBytes: number): Promise<void> {
  await checkLayerHeader(join(dir, layer), { sizeBytes, encrypted: layerSecret !== undefined })
}
