import type { ChunkStoreSettings } from '../chunk-context.ts'
import { generationEnd } from '../generation.ts'
import type { ProtectionPeriod } from './put-protected.ts'

const DAY_MS = 24 * 3_600_000

/** How what is written in this generation is retained; undefined where nothing is. */
export function protectionOf(
  { protection }: Pick<ChunkStoreSettings, 'protection'>,
  generation: number,
): ProtectionPeriod | undefined {
  if (protection === undefined) return undefined
  const retainUntil = new Date(generationEnd(generation).getTime() + protection.days * DAY_MS)
  return { mode: protection.mode, retainUntil }
}
