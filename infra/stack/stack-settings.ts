import { randomBytes } from 'node:crypto'
import { readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import * as z from 'zod'
import { findFreePort, isPortFree } from '../processes/free-port.ts'

const Port = z.int().min(1).max(65_535)
const StackSettings = z.strictObject({
  version: z.literal(1),
  ports: z.strictObject({ portal: Port, dashboard: Port, broker: Port, postgres: Port }),
  passwords: z.strictObject({ databaseOwner: z.string(), app: z.string(), system: z.string(), demoOwner: z.string() }),
})
/** What a stack decides once and keeps: agents remember the broker's address, databases their passwords. */
export type StackSettings = z.infer<typeof StackSettings>

export const DEMO_OWNER_EMAIL = 'owner@msp.example'
const FIXED_PORTS = { portal: 4400, dashboard: 4401, broker: 8883, postgres: 4432 } as const

/**
 * Reads the settings of a state directory, or makes them.
 *
 * @param ports `fixed`: the usual ones, and any free one in place of an inner port that is taken; `free`: any
 * @param portalPort overrules the portal's port, now and for later starts
 */
export async function loadStackSettings(
  stateDir: string,
  ports: 'fixed' | 'free',
  portalPort: number | undefined,
): Promise<StackSettings> {
  const file = path.join(stateDir, 'settings.json')
  const stored = await readFile(file, 'utf8').catch(() => undefined)
  const before = stored === undefined ? await newSettings(ports) : StackSettings.parse(JSON.parse(stored))
  const settings = portalPort === undefined ? before : { ...before, ports: { ...before.ports, portal: portalPort } }
  await writeFile(`${file}.new`, `${JSON.stringify(settings, null, 2)}\n`, { mode: 0o600 })
  await rename(`${file}.new`, file)
  return settings
}

/** Rejects with `stack.start_failed` that names every port that somebody else holds. */
export async function requireFreePorts(settings: StackSettings): Promise<void> {
  for (const [name, port] of Object.entries(settings.ports)) {
    if (await isPortFree(port)) continue
    const hint = name === 'portal' ? '; choose another: npm start -- --port <number>' : ''
    throw new PlatformError(
      'stack.start_failed',
      `port ${port} on 127.0.0.1 (${name}) is taken by another program${hint}`,
    )
  }
}

async function newSettings(ports: 'fixed' | 'free'): Promise<StackSettings> {
  const inner = async (usual: number): Promise<number> =>
    ports === 'fixed' && (await isPortFree(usual)) ? usual : await findFreePort()
  return {
    version: 1,
    ports: {
      portal: ports === 'fixed' ? FIXED_PORTS.portal : await findFreePort(),
      dashboard: await inner(FIXED_PORTS.dashboard),
      broker: await inner(FIXED_PORTS.broker),
      postgres: await inner(FIXED_PORTS.postgres),
    },
    passwords: { databaseOwner: newPassword(), app: newPassword(), system: newPassword(), demoOwner: newPassword() },
  }
}

/** 96 random bits in characters that need no quoting in addresses and shells, and are never taken for an option. */
function newPassword(): string {
  return randomBytes(12).toString('hex')
}
