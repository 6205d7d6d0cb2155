import { LogInResult } from '@sendense/shared/contracts/api/session-api.ts'
import { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import { z } from 'zod'
import { appRouter } from '../api/app-router.ts'
import { accessOf } from '../api/procedure-access.ts'

const Answer = z.union([
  z.object({ result: z.object({ data: z.unknown() }) }),
  z.object({ error: z.object({ data: z.object({ code: z.string(), report: ErrorReport }) }) }),
])

export interface ApiAnswer {
  readonly status: number
  readonly data: unknown
  readonly report: ErrorReport | undefined
  readonly cookies: readonly string[]
}

const procedures = accessOf(appRouter)

/** Calls a procedure over HTTP, as a program does. */
export async function callApi(
  origin: string,
  path: string,
  input: unknown,
  options: { token?: string; headers?: Record<string, string> } = {},
): Promise<ApiAnswer> {
  const isQuery = procedures.get(path)?.type === 'query'
  const url = new URL(`/trpc/${path}`, origin)
  if (isQuery && input !== undefined) url.searchParams.set('input', JSON.stringify(input))
  const response = await fetch(url, {
    method: isQuery ? 'GET' : 'POST',
    headers: {
      'content-type': 'application/json',
      ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
      ...options.headers,
    },
    ...(isQuery ? {} : { body: JSON.stringify(input) }),
  })
  const answer = Answer.parse(await response.json())
  return {
    status: response.status,
    data: 'result' in answer ? answer.result.data : undefined,
    report: 'error' in answer ? answer.error.data.report : undefined,
    cookies: response.headers.getSetCookie(),
  }
}

export async function logInAs(origin: string, email: string, password: string): Promise<string> {
  const { data } = await callApi(origin, 'session.logIn', { email, password })
  return LogInResult.parse(data).token
}
