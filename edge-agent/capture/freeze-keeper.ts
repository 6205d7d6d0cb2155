import process from 'node:process'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import { openGuestFreezer } from '../platforms/kvm/guest-freeze.ts'
import type { KeeperMessage } from './freeze-keeper-messages.ts'

/**
 * A process for one freeze: `freeze-keeper.ts SOCKET MAX_MS`. It freezes the guest and thaws it when it is told to, when
 * the one who started it is gone (standard input ends), or when the time is over: whatever comes first. So a guest is
 * frozen for longer than that only when this process and its starter are both killed at once.
 */
const [socketPath = '', maxText = ''] = process.argv.slice(2)
const guest = openGuestFreezer(socketPath)
const maxMs = Number(maxText)

// A terminal's or a service manager's wish to end this does not come before the guest.
for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(name, () => {})
process.stdout.on('error', () => {}) // nobody may listen any more

const released = new Promise<void>((resolve) => {
  const lines = createInterface({ input: process.stdin })
  lines.on('line', () => resolve())
  lines.on('close', () => resolve())
})

try {
  const frozen = await guest.freeze({ signal: new AbortController().signal, maxMs })
  say({ frozen })
  const overdue = new AbortController()
  if (frozen) await Promise.race([released, delay(maxMs, undefined, { signal: overdue.signal }).catch(() => {})])
  overdue.abort()
  say({ thawed: frozen ? await guest.thaw() : 0 })
} catch (error) {
  say({ failed: toErrorReport(error) })
  process.exitCode = 1
}
process.stdin.destroy()

function say(message: KeeperMessage): void {
  process.stdout.write(`${JSON.stringify(message)}\n`)
}
