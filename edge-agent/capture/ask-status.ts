import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../block/block-source.ts'
import { controlSocketOf } from './capture-paths.ts'
import type { CaptureStatus } from './capture-protocol.ts'
import { ControlConnection } from './control-connection.ts'

/** Asks the capture agent that runs with this state directory. Rejects with `capture.not_running`. */
export async function askStatus(stateDir: string, { signal }: CallOptions): Promise<CaptureStatus> {
  try {
    await using connection = await ControlConnection.open(controlSocketOf(stateDir), { role: 'status', signal })
    return await connection.call('status', {}, { signal })
  } catch (error) {
    if (!isPlatformError(error, 'capture.disconnected')) throw error
    throw new PlatformError('capture.not_running', `no capture agent runs with ${stateDir}`, { cause: error })
  }
}
