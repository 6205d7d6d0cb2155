export interface PaletteEntry {
  readonly href: string
  readonly label: string
  /** What kind of thing it is, or where. */
  readonly note: string
}

const RESULTS_MAX = 12

/** Entries whose label or note holds every word of `query`: those whose label begins with it, then holds it, first. */
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
  return found.toSorted((a, b) => rankOf(a, first) - rankOf(b, first)).slice(0, RESULTS_MAX)
}

function rankOf({ label }: PaletteEntry, word: string): number {
  const at = label.toLowerCase().indexOf(word)
  return at === 0 ? 0 : at > 0 ? 1 : 2
}
