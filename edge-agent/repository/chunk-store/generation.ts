const GENERATION_MS = 10 * 24 * 3_600_000

/** Time is cut into generations of ten days, counted from 1970: what is written in one is retained until the same day. */
export function generationOf(time: Date): number {
  return Math.max(0, Math.floor(time.getTime() / GENERATION_MS))
}

/** The first instant after it. */
export function generationEnd(generation: number): Date {
  return new Date((generation + 1) * GENERATION_MS)
}
