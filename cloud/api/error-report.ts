import type { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import { errorCodes } from '@sendense/shared/errors/error-codes.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import type { TRPC_ERROR_CODE_KEY } from '@trpc/server'
import { TRPCError } from '@trpc/server'
import { z } from 'zod'

const trpcCodeOf = new Map<number, TRPC_ERROR_CODE_KEY>([
  [400, 'BAD_REQUEST'],
  [401, 'UNAUTHORIZED'],
  [403, 'FORBIDDEN'],
  [404, 'NOT_FOUND'],
  [409, 'CONFLICT'],
  [410, 'PRECONDITION_FAILED'],
  [422, 'UNPROCESSABLE_CONTENT'],
  [429, 'TOO_MANY_REQUESTS'],
  [501, 'NOT_IMPLEMENTED'],
  [502, 'BAD_GATEWAY'],
  [503, 'SERVICE_UNAVAILABLE'],
  [504, 'GATEWAY_TIMEOUT'],
])

/** The same error as tRPC answers it: with the HTTP status of its code. */
export function toTrpcError(error: PlatformError): TRPCError {
  const code = trpcCodeOf.get(errorCodes[error.code].httpStatus) ?? 'INTERNAL_SERVER_ERROR'
  return new TRPCError({ code, message: error.message, cause: error })
}

/** What the caller is told. Of an error nobody translated: nothing but that it happened. */
export function reportOf(error: TRPCError): ErrorReport {
  return toErrorReport(platformErrorOf(error))
}

function platformErrorOf(error: TRPCError): PlatformError {
  if (error.cause instanceof PlatformError) return error.cause
  if (error.cause instanceof z.ZodError) {
    const [issue] = error.cause.issues
    const field = issue?.path.join('.') ?? ''
    return new PlatformError(
      'input.invalid',
      field === '' ? (issue?.message ?? 'invalid') : `${field}: ${issue?.message}`,
    )
  }
  if (error.code === 'INTERNAL_SERVER_ERROR') return new PlatformError('internal.unexpected', 'something went wrong')
  if (error.code === 'NOT_FOUND') return new PlatformError('resource.not_found', error.message)
  return new PlatformError('input.invalid', error.message)
}
