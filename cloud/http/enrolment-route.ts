import type { IncomingMessage, ServerResponse } from 'node:http'
import { type EnrolmentAnswer, EnrolmentRequest } from '@sendense/shared/contracts/enrolment.ts'
import { errorCodes } from '@sendense/shared/errors/error-codes.ts'
import { PlatformError, toPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { AttemptLimiter } from '../identity/attempt-limiter.ts'

const BODY_MAX_BYTES = 64 * 1024

export interface EnrolmentRoute {
  readonly enrol: (request: EnrolmentRequest) => Promise<EnrolmentAnswer>
  /** By address. */
  readonly limiter: AttemptLimiter
  readonly logger: Logger
}

/** POST /fleet/enrol: `EnrolmentRequest` in, `EnrolmentAnswer` or `ErrorReport` out, as JSON. */
export async function handleEnrolment(
  request: IncomingMessage,
  response: ServerResponse,
  route: EnrolmentRoute,
): Promise<void> {
  try {
    if (request.method !== 'POST') throw new PlatformError('input.invalid', 'only POST is answered here')
    if (!route.limiter.tryTake(request.socket.remoteAddress ?? 'unknown')) {
      throw new PlatformError('identity.rate_limited', 'too many enrolments from this address')
    }
    const parsed = EnrolmentRequest.safeParse(await readJson(request))
    if (!parsed.success) {
      throw new PlatformError('enrolment.request_invalid', 'the request is not of a form this cloud knows', {
        cause: parsed.error,
      })
    }
    answer(response, 200, await route.enrol(parsed.data))
  } catch (error) {
    const known = toPlatformError(error)
    if (known.code === 'internal.unexpected') route.logger.error({ err: error }, 'an enrolment failed unexpectedly')
    const shown = known.code === 'internal.unexpected' ? new PlatformError(known.code, 'something went wrong') : known
    answer(response, errorCodes[shown.code].httpStatus, toErrorReport(shown))
  }
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  let sizeBytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    sizeBytes += chunk.byteLength
    if (sizeBytes > BODY_MAX_BYTES) throw new PlatformError('enrolment.request_invalid', 'the request is too large')
    chunks.push(chunk)
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'))
  } catch (error) {
    throw new PlatformError('enrolment.request_invalid', 'the request is no JSON', { cause: error })
  }
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  if (response.headersSent || response.destroyed) return
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
  response.end(JSON.stringify(body))
}
