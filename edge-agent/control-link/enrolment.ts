import { sign } from 'node:crypto'
import path from 'node:path'
import { EnrolmentAnswer, type EnrolmentRequest, enrolmentTranscript } from '@sendense/shared/contracts/enrolment.ts'
import { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import { isErrorCode } from '@sendense/shared/errors/error-codes.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { retryDelayMs } from '@sendense/shared/runtime/retry-delay.ts'
import { readOptionalFile, writeSecretFile } from '@sendense/shared/runtime/secret-file.ts'
import type { AgentIdentity } from './agent-identity.ts'
import { capabilities, PROTOCOL_VERSION } from './protocol-version.ts'

const REQUEST_TIMEOUT_MS = 15_000
const ANSWER_MAX_CHARS = 256 * 1024

export interface EnrolOptions {
  readonly stateDir: string
  readonly identity: AgentIdentity
  readonly cloudUrl: string | undefined
  readonly token: string | undefined
  readonly hostname: string
  readonly agentVersion: string
  readonly clock: Clock
  readonly logger: Logger
  readonly signal: AbortSignal
}

/**
 * What the cloud gave this agent when it enrolled: read from `stateDir`, or asked for with the one-use token. The
 * same token and keys get the same answer, so a stop in the middle does no harm. Waits for a cloud that does not
 * answer.
 * Rejects with `agent.not_enrolled` without a token, `enrolment.*` when the cloud refuses.
 */
export async function enrol(options: EnrolOptions): Promise<EnrolmentAnswer> {
  const file = path.join(options.stateDir, 'enrolment.json')
  const certificateFile = path.join(options.stateDir, 'agent.crt')
  const known = await readOptionalFile(file)
  if (known !== undefined && (await readOptionalFile(certificateFile)) !== undefined) {
    return EnrolmentAnswer.parse(JSON.parse(known))
  }
  const { cloudUrl, token } = options
  if (cloudUrl === undefined || token === undefined) {
    throw new PlatformError('agent.not_enrolled', 'this agent has not enrolled yet and was given no enrolment token')
  }
  const answer = await askUntilAnswered(options, new URL('/fleet/enrol', cloudUrl), buildRequest(options, token))
  await writeSecretFile(file, JSON.stringify(answer))
  // Last: its presence says that the agent has enrolled.
  await writeSecretFile(certificateFile, answer.certificateChain)
  options.logger.info({ agentId: answer.agentId, siteName: answer.siteName }, 'enrolled')
  return answer
}

function buildRequest({ identity, hostname, agentVersion }: EnrolOptions, token: string): EnrolmentRequest {
  const part = { token, csr: identity.csr, identityKey: identity.signingKey.publicKey }
  const signature = sign(null, enrolmentTranscript(part), identity.signingKey.privateKey).toString('base64')
  const protocol = { min: PROTOCOL_VERSION, max: PROTOCOL_VERSION }
  return { ...part, signature, hostname, agentVersion, protocol, capabilities: [...capabilities] }
}

async function askUntilAnswered(options: EnrolOptions, url: URL, request: EnrolmentRequest): Promise<EnrolmentAnswer> {
  for (let attempt = 0; ; attempt++) {
    options.signal.throwIfAborted()
    try {
      return await ask(url, request, options.signal)
    } catch (error) {
      options.signal.throwIfAborted()
      if (!(error instanceof PlatformError) || error.retry !== 'backoff') throw error
      options.logger.warn({ attempt, err: error }, 'the cloud does not enrol this agent yet')
      const delayMs = 500 + retryDelayMs(attempt, { baseMs: 500, capMs: 60_000 })
      await options.clock.sleep(delayMs, { signal: options.signal })
    }
  }
}

async function ask(url: URL, request: EnrolmentRequest, signal: AbortSignal): Promise<EnrolmentAnswer> {
  const { status, text } = await post(url, request, signal)
  const body = parseJson(text)
  if (status === 200) {
    const answer = EnrolmentAnswer.safeParse(body)
    if (answer.success) return answer.data
    throw new PlatformError('enrolment.request_invalid', 'the answer of the cloud is of no form this agent knows', {
      cause: answer.error,
    })
  }
  const report = ErrorReport.safeParse(body)
  if (report.success && isErrorCode(report.data.code)) {
    throw new PlatformError(report.data.code, `the cloud refused the enrolment: ${report.data.message}`)
  }
  throw new PlatformError('agent.offline', `${url.origin} answered the enrolment with status ${status}`)
}

async function post(
  url: URL,
  request: EnrolmentRequest,
  signal: AbortSignal,
): Promise<{ status: number; text: string }> {
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(request),
      redirect: 'error',
      signal: AbortSignal.any([signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]),
    })
    return { status: response.status, text: (await response.text()).slice(0, ANSWER_MAX_CHARS) }
  } catch (error) {
    signal.throwIfAborted()
    throw new PlatformError('agent.offline', `${url.origin} does not answer`, { cause: error })
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
