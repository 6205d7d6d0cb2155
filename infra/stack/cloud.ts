import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import * as z from 'zod'
import type { ProcessSpec } from '../processes/managed-process.ts'
import { runCommand } from '../processes/run-command.ts'
import { databaseUrl, DATABASE_OWNER } from './postgres.ts'
import { checkoutDir, type StackPaths } from './stack-paths.ts'
import { DEMO_OWNER_EMAIL, type StackSettings } from './stack-settings.ts'

const CLOUD_CLI = path.join(checkoutDir, 'cloud/cli/main.ts')

const DemoSite = z.object({ mspId: z.uuid(), customerId: z.uuid(), siteId: z.uuid() })
export type DemoSite = z.infer<typeof DemoSite>

/** Certificates and signing keys of the fleet; what is there stays. */
export async function initialiseKeys(paths: StackPaths, options: { signal: AbortSignal }): Promise<void> {
  const hosts = ['--broker-host', 'localhost', '--broker-host', '127.0.0.1']
  await runCloudCli(['init-keys', '--dir', paths.keysDir, ...hosts], options)
}

/** Brings the database to the schema of this version. */
export async function migrateDatabase(settings: StackSettings, options: { signal: AbortSignal }): Promise<void> {
  const passwords = ['--app-password', settings.passwords.app, '--system-password', settings.passwords.system]
  await runCloudCli(['migrate', '--database-url', ownerUrl(settings), ...passwords], options)
}

/** The demo MSP with a customer, a site and an owner who can log in; the same ones each time. */
export async function seedDemo(settings: StackSettings, options: { signal: AbortSignal }): Promise<DemoSite> {
  const owner = ['--owner-email', DEMO_OWNER_EMAIL, '--owner-password', settings.passwords.demoOwner]
  const answer = await runCloudCli(['seed-demo', '--database-url', ownerUrl(settings), ...owner], options)
  return DemoSite.parse(lastJsonLine(answer))
}

/** A fresh token with which one agent may join the site. */
export async function createEnrolmentToken(
  settings: StackSettings,
  siteId: string,
  options: { signal: AbortSignal },
): Promise<string> {
  const args = ['create-enrolment-token', '--site-id', siteId, '--database-url', ownerUrl(settings)]
  return z.object({ token: z.string().min(1) }).parse(lastJsonLine(await runCloudCli(args, options))).token
}

export function portalUrl(settings: StackSettings): string {
  return `http://localhost:${settings.ports.portal}`
}

export function cloudProcess(paths: StackPaths, settings: StackSettings): ProcessSpec {
  const { ports, passwords } = settings
  const broker = `mqtts://127.0.0.1:${ports.broker}`
  return {
    name: 'cloud',
    file: process.execPath,
    args: [path.join(checkoutDir, 'cloud/main.ts')],
    env: {
      ...process.env,
      SENDENSE_CLOUD_DATABASE_URL: databaseUrl(ports.postgres, 'app', passwords.app),
      SENDENSE_CLOUD_SYSTEM_DATABASE_URL: databaseUrl(ports.postgres, 'system', passwords.system),
      SENDENSE_CLOUD_LISTEN_HOST: '127.0.0.1',
      SENDENSE_CLOUD_LISTEN_PORT: String(ports.portal),
      SENDENSE_CLOUD_PUBLIC_URL: portalUrl(settings),
      SENDENSE_CLOUD_DASHBOARD_URL: `http://127.0.0.1:${ports.dashboard}`,
      SENDENSE_CLOUD_BROKER_URL: broker,
      SENDENSE_CLOUD_AGENT_BROKER_URLS: broker,
      SENDENSE_CLOUD_KEYS_DIR: paths.keysDir,
    },
    cwd: checkoutDir,
    logFile: path.join(paths.logsDir, 'cloud.log'),
    ready: async (signal) => (await fetch(`http://127.0.0.1:${ports.portal}/health`, { signal })).ok,
    readyTimeoutMs: 60_000,
  }
}

function ownerUrl(settings: StackSettings): string {
  return databaseUrl(settings.ports.postgres, DATABASE_OWNER, settings.passwords.databaseOwner)
}

async function runCloudCli(args: readonly string[], options: { signal: AbortSignal }): Promise<string> {
  return await runCommand(process.execPath, [CLOUD_CLI, ...args], { ...options, cwd: checkoutDir })
}

function lastJsonLine(answer: string): unknown {
  const line = answer.trim().split('\n').at(-1) ?? ''
  try {
    return JSON.parse(line)
  } catch (error) {
    throw new PlatformError('setup.command_failed', 'the cloud command printed no JSON line', { cause: error })
  }
}
