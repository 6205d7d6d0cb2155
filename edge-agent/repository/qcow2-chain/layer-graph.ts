import { join } from 'node:path'
import type { BlockNode } from '../../qemu/storage-daemon.ts'

/** Threads that write one new layer: more of them would only wait for the file's lock. */
export const NEW_LAYER_IO_THREADS = 2

export interface LayerGraph {
  /** Lower nodes first. */
  readonly nodes: readonly BlockNode[]
  /** The node that reads as the whole content; null where there are no layers. */
  readonly top: string | null
}

/**
 * A chain of sealed layers, read-only. Every format and every backing is named, so that nothing a header or a
 * guest's data says is ever followed, and nothing is probed.
 * @param layers as in a manifest: newest first, relative to `dir`
 * @param prefix of the node names; at most 20 characters, unique in the daemon (QEMU takes 31)
 */
export function readOnlyChain(dir: string, layers: readonly string[], prefix: string): LayerGraph {
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
export function writableLayer(path: string, name: string, backing: string | null): BlockNode {
  return {
    'driver': 'qcow2',
    'node-name': name,
    'discard': 'ignore',
    'backing': backing,
    'file': { driver: 'file', filename: path, discard: 'ignore' },
  }
}
