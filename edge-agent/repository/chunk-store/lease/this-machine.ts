import { uptime } from 'node:os'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import { ownProcessIdentity, type ProcessIdentity } from '../../process-identity.ts'
import type { ClockReading } from '../format/clock-reading.ts'

/** Who holds a lease or collects, and what time it is there. Simulation passes its own. */
export interface Machine {
  readonly holder: ProcessIdentity
  readonly readClocks: () => ClockReading
}

export async function thisMachine(clock: Pick<Clock, 'now'>): Promise<Machine> {
  const holder = await ownProcessIdentity()
  const { bootId } = holder
  return {
    holder,
    // Of Linux uptime(2) counts what the machine slept.
    readClocks: () => ({ wallMs: clock.now().getTime(), bootId, upMs: Math.round(uptime() * 1000) }),
  }
}
