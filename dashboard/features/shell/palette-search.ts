export interface PaletteEntry {
  readonly href: string
  readonly label: string
  /** What kind of thing it is, or where. */
  readonly note: string
}

const RESULTS_MAX = 12

/** Entries whose label or note holds every word of `query`, those that begin with it first. */
export function searchPalette(entries: readonly PaletteEntry[], query: string): PaletteEntry[] {
  const words = query
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '')
  const first = words[0]
  const found = entries.filter((entry) => {
    const text = `${entry.label} ${entry.note}`.toLowerCase()
    return words.every((word) => text.includes(word))
  })
  if (first === undefined) return found.slice(0, RESULTS_MAX)
  const rank = (entry: PaletteEntry) => (entry.label.toLowerCase().startsWith(first) ? 0 : 1)
  return found.toSorted((a, b) => rank(a) - rank(b)).slice(0, RESULTS_MAX)
}
