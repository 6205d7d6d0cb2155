import { AgentView } from '@sendense/shared/contracts/api/fleet-api.ts'
import { LogInResult } from '@sendense/shared/contracts/api/session-api.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import * as z from 'zod'
import { waitUntil } from '../processes/wait-until.ts'
import { portalUrl } from './cloud.ts'
import { DEMO_OWNER_EMAIL, type StackSettings } from './stack-settings.ts'

const ONLINE_TIMEOUT_MS = 90_000

/** Asks the cloud, as the demo's owner, until it shows an agent online; returns that agent's id. */
export async function waitForAgent(settings: StackSettings, options: { signal: AbortSignal }): Promise<string> {
  const base = `${portalUrl(settings)}/trpc`
  const credentials = { email: DEMO_OWNER_EMAIL, password: settings.passwords.demoOwner }
  const login = await call(`${base}/session.logIn`, { method: 'POST', input: credentials }, options.signal)
  const { token } = LogInResult.parse(login)
  try {
    const findOnline = async (signal: AbortSignal): Promise<string | undefined> => {
      const agents = z.array(AgentView).parse(await call(`${base}/agent.list`, { method: 'GET', token }, signal))
      return agents.find((agent) => agent.presence === 'online')?.agentId
    }
    return await waitUntil('the agent to be online', findOnline, {
      ...options,
      timeoutMs: ONLINE_TIMEOUT_MS,
      pauseMs: 250,
    })
  } finally {
    await call(`${base}/session.logOut`, { method: 'POST', token }, options.signal)
  }
}

const Answer = z.object({ result: z.object({ data: z.unknown() }) })

interface Call {
  readonly method: 'GET' | 'POST'
  readonly token?: string
  readonly input?: unknown
}

/** One tRPC call over plain HTTP (tRPC's "HTTP RPC specification"). */
async function call(url: string, { method, token, input }: Call, signal: AbortSignal): Promise<unknown> {
  const headers = new Headers({ 'content-type': 'application/json' })
  if (token !== undefined) headers.set('authorization', `Bearer ${token}`)
  const response = await fetch(url, {
    method,
    headers,
    signal,
    body: method === 'GET' ? null : JSON.stringify(input ?? null),
  })
  const body: unknown = await response.json()
  if (!response.ok) {
    throw new PlatformError('stack.start_failed', `${url} answered ${response.status}: ${JSON.stringify(body)}`)
  }
  return Answer.parse(body).result.data
}
