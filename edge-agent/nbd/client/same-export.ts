import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { NbdSession } from './handshake.ts'

/**
 * Refuses to go on with another disk under the same name.
 * @throws PlatformError `nbd.export_changed` unless size, transmission flags, block sizes and the names of the contexts
 *   are the same
 */
export function expectSameExport(before: NbdSession, now: NbdSession, name: string): void {
  const [was, is] = [describe(before), describe(now)]
  const different = [...was.keys()].find((fact) => was.get(fact) !== is.get(fact))
  if (different === undefined) return
  const change = `${different} was ${was.get(different)} and is ${is.get(different)}`
  throw new PlatformError('nbd.export_changed', `NBD server ${name} shows another disk: ${change}`)
}

function describe({ sizeBytes, flags, blockSizes, contextIds }: NbdSession): ReadonlyMap<string, string> {
  const { minimumBytes, preferredBytes, maximumBytes } = blockSizes
  return new Map([
    ['its size', `${sizeBytes} bytes`],
    ['what it can', `0x${flags.toString(16)}`],
    ['its blocks', `${minimumBytes}, ${preferredBytes}, ${maximumBytes} bytes`],
    ['its contexts', [...contextIds.keys()].toSorted().join(' ')],
  ])
}
