import { constants } from 'node:os'

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(constants.errno).map(([name, number]) => [number, name]),
)

/**
 * The system's name of an error, such as ENOENT; undefined where it is none of the system's.
 *
 * libuv has no name for some, EDQUOT and ESTALE among them: their `code` is `Unknown system error -122` from asynchronous
 * calls of Node and `UNKNOWN` from synchronous ones. Only `errno` tells.
 */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined
  if (!('syscall' in error)) return undefined
  const named = 'errno' in error && typeof error.errno === 'number' ? NAMES.get(-error.errno) : undefined
  return named ?? error.code
}
