import { PlatformError, isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../block/block-source.ts'
import { logIn } from './client/log-in.ts'
import type { EnrolmentToken } from './enrolment-token.ts'
import { readEd25519Key } from './ssh/ed25519-key.ts'
import { usualTimes } from './ssh/ssh-transport.ts'
import { ssh2Loaded } from './ssh/ssh2-protocol.ts'
import { enrolmentUserName } from './tunnel-users.ts'

/**
 * Makes a capture agent's key known to the edge agent with a one-use token: one log-in, which proves the key. After it
 * the key logs in by itself. The same key may do it again with the same token, for whoever did not hear the answer.
 *
 * @param key as `generateEd25519Key` makes it
 * Rejects with `tunnel.token_invalid` where the edge agent does not take the token (any more), `tunnel.unreachable`,
 * `tunnel.host_key_mismatch`, `tunnel.disconnected`, `tunnel.protocol_violation`.
 */
export async function enrolCaptureAgent(token: EnrolmentToken, key: string, { signal }: CallOptions): Promise<void> {
  await ssh2Loaded()
  try {
    const session = await logIn({
      address: { host: token.host, port: token.port },
      hostKeyFingerprint: token.hostKey,
      key: readEd25519Key(key, 'the key of the capture agent'),
      userName: enrolmentUserName(token.secret),
      times: usualTimes,
      findTarget: () => undefined,
      onEnded: () => undefined,
      signal,
    })
    session.close()
  } catch (error) {
    if (!isPlatformError(error, 'tunnel.login_refused')) throw error
    throw new PlatformError('tunnel.token_invalid', 'the token was used already, or is too old', { cause: error })
  }
}
