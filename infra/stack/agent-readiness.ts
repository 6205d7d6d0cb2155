import { AgentView } from '@sendense/shared/contracts/api/fleet-api.ts'
import { LogInResult } from '@sendense/shared/contracts/api/session-api.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import * as z from 'zod'
import { portalUrl } from './cloud.ts'
import { DEMO_OWNER_EMAIL, type StackSettings } from './stack-settings.ts'

/** Asks the cloud, as the demo's owner, whether an agent is online. */
export class AgentWatch {
  readonly #base: string
  readonly #credentials: { readonly email: string; readonly password: string }
  #token: string | undefined
  #agentId: string | undefined

  constructor(settings: StackSettings) {
    this.#base = `${portalUrl(settings)}/trpc`
    this.#credentials = { email: DEMO_OWNER_EMAIL, password: settings.passwords.demoOwner }
  }

  /** The agent that was found online; undefined before. */
  get agentId(): string | undefined {
    return this.#agentId
  }

  /** Whether an agent is online that the cloud has heard of since `since`. Logs in at first and out when it has found one. */
  async isOnline(since: Date, signal: AbortSignal): Promise<boolean> {
    if (this.#token === undefined) {
      const answer = await call(`${this.#base}/session.logIn`, { method: 'POST', input: this.#credentials }, signal)
      this.#token = LogInResult.parse(answer).token
    }
    const token = this.#token
    const agents = z.array(AgentView).parse(await call(`${this.#base}/agent.list`, { method: 'GET', token }, signal))
    const online = agents.find((agent) => agent.presence === 'online' && wasSeen(agent, since))
    if (online === undefined) return false
    this.#agentId = online.agentId
    this.#token = undefined
    await call(`${this.#base}/session.logOut`, { method: 'POST', token }, signal)
    return true
  }
}

function wasSeen(agent: AgentView, since: Date): boolean {
  return agent.lastSeenAt !== null && Date.parse(agent.lastSeenAt) >= since.getTime()
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
