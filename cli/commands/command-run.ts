import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Command } from 'commander'
import { z } from 'zod'
import { type ApiConnection, connectApi } from '../api/api-client.ts'
import type { CliContext } from '../cli-context.ts'
import { printable } from '../output/printable.ts'
import { findSession } from '../session/session-file.ts'

export const DEFAULT_URL = 'http://localhost:4400'

const GlobalOptions = z.object({ json: z.boolean().default(false), url: z.string().optional() })

/** What every command works with. */
export interface CommandRun extends ApiConnection {
  readonly context: CliContext
  readonly json: boolean
  /** The value itself with `--json`, else the text. */
  print(value: unknown, text: () => string): void
}

/**
 * Connects as whoever is logged in.
 * @throws PlatformError `identity.session_required` where nobody is, `input.invalid` for a wrong --url
 */
export async function openRun(context: CliContext, command: Command): Promise<CommandRun> {
  const { json, url } = GlobalOptions.parse(command.optsWithGlobals())
  const chosen = url === undefined ? context.config.url : parseOrigin(url)
  const stored = await findSession(context.config.sessionPath)
  // A token goes to no other origin than the one that gave it.
  const session = chosen === undefined || stored?.url === chosen ? stored : undefined
  const token = context.config.token ?? session?.token
  if (token === undefined) throw new PlatformError('identity.session_required', notLoggedIn(chosen, stored?.url))
  const connection = connectApi({ url: chosen ?? session?.url ?? DEFAULT_URL, token, signal: context.signal })
  return { ...connection, context, json, print: (value, text) => print(context, json, value, text) }
}

/** The origin a command without a session talks to. */
export function urlOf(context: CliContext, command: Command): string {
  const { url } = GlobalOptions.parse(command.optsWithGlobals())
  return url === undefined ? (context.config.url ?? DEFAULT_URL) : parseOrigin(url)
}

export function wantsJson(command: Command): boolean {
  return GlobalOptions.parse(command.optsWithGlobals()).json
}

export function print(context: CliContext, json: boolean, value: unknown, text: () => string): void {
  context.stdout.write(`${json ? JSON.stringify(value, undefined, 2) : printable(text())}\n`)
}

function parseOrigin(text: string): string {
  const parsed = z.url({ protocol: /^https?$/ }).safeParse(text)
  if (!parsed.success) throw new PlatformError('input.invalid', `--url ${text}: give it as https://portal.example`)
  return new URL(parsed.data).origin
}

function notLoggedIn(chosen: string | undefined, storedUrl: string | undefined): string {
  if (chosen !== undefined && storedUrl !== undefined)
    return `not logged in at ${chosen}; the session is for ${storedUrl}`
  return 'not logged in; run: sendense login'
}
