import { createHash } from 'node:crypto'
import type { UsageFact, UsageMeter } from '@sendense/shared/contracts/usage-fact.ts'

export interface Measurement {
  /** What caused it, a restore point or a job: the same source and meter make the same fact, however often it is told. */
  readonly sourceId: string
  readonly meter: UsageMeter
  readonly resourceId: string
  readonly amount: number
  readonly at: Date
}

export function toUsageFact({ sourceId, meter, resourceId, amount, at }: Measurement): UsageFact {
  return { factId: derivedId(`${sourceId}\n${meter}`), meter, resourceId, amount, at: at.toISOString() }
}

/** A UUID version 8 (RFC 9562) made of SHA-256. */
function derivedId(text: string): string {
  const bytes = createHash('sha256').update(text).digest().subarray(0, 16)
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6)
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8)
  const hex = bytes.toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}
