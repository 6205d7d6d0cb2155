/** A merge pays when it can free at least this share of the largest layer that it writes again. */
const GAIN_MIN = 1 / 4

/** A restore point, and where its disks lie now. */
export interface PlacedPoint {
  readonly restorePointId: string
  /** By disk id: newest layer first, relative to the repository. */
  readonly layers: ReadonlyMap<string, readonly string[]>
}

/** Neighbouring layers of which only the topmost still is a restore point's own: one layer can take their place. */
export interface LayerRun {
  readonly diskId: string
  /** Newest first. */
  readonly replaces: readonly string[]
  /** What lies below them, in every chain that has them. */
  readonly below: readonly string[]
  /** A restore point that reads as these layers: its chunk ids prove their content. */
  readonly restorePointId: string
}

export function referencedLayers(points: readonly PlacedPoint[]): Set<string> {
  return new Set(points.flatMap(({ layers }) => [...layers.values()].flat()))
}

/**
 * All runs of two layers and more. A layer that two chains continue from stays as it is: merged into both it would take
 * more space, not less. No two runs share a layer.
 */
export function findRuns(points: readonly PlacedPoint[]): LayerRun[] {
  const runs: LayerRun[] = []
  for (const diskId of new Set(points.flatMap(({ layers }) => [...layers.keys()]))) {
    const chains = points.flatMap(({ restorePointId, layers }) => {
      const chain = layers.get(diskId)
      return chain === undefined ? [] : [{ restorePointId, chain }]
    })
    const tops = new Set(chains.map(({ chain }) => chain[0]))
    const above = layersAbove(chains.map(({ chain }) => chain))
    const seen = new Set<string>()
    for (const { restorePointId, chain } of chains) {
      const [top = ''] = chain
      if (seen.has(top)) continue
      seen.add(top)
      let end = 1
      while (end < chain.length && !tops.has(chain[end]) && above.get(chain[end] ?? '')?.size === 1) end += 1
      if (end > 1) runs.push({ diskId, replaces: chain.slice(0, end), below: chain.slice(end), restorePointId })
    }
  }
  return runs
}

/** For each layer those that lie directly on it, in some chain. */
function layersAbove(chains: readonly (readonly string[])[]): Map<string, Set<string>> {
  const above = new Map<string, Set<string>>()
  for (const chain of chains) {
    for (const [index, layer] of chain.entries()) {
      const upper = chain[index - 1]
      if (upper === undefined) continue
      const known = above.get(layer) ?? new Set()
      above.set(layer, known.add(upper))
    }
  }
  return above
}

/**
 * Whether merging layers of these sizes is worth writing them again. What is freed is at most all but the largest; so a
 * small increment is not merged into a large base before others came to it, and no byte is written again and again.
 */
export function isWorthMerging(sizesBytes: readonly number[]): boolean {
  const largest = Math.max(...sizesBytes)
  const others = sizesBytes.reduce((sum, size) => sum + size, 0) - largest
  return others >= largest * GAIN_MIN
}

/** The chain with `merged` in the place of the run; undefined where it does not hold all of the run. */
export function replaceRun(
  chain: readonly string[],
  { replaces }: Pick<LayerRun, 'replaces'>,
  merged: string,
): string[] | undefined {
  const start = chain.indexOf(replaces[0] ?? '')
  if (start < 0 || replaces.some((layer, index) => chain[start + index] !== layer)) return undefined
  return [...chain.slice(0, start), merged, ...chain.slice(start + replaces.length)]
}
