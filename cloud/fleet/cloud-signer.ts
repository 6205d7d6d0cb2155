import { CloudMessage } from '@sendense/shared/contracts/cloud-message.ts'
import { payloadTypes } from '@sendense/shared/contracts/signed-envelope.ts'
import { signEnvelope } from '@sendense/shared/runtime/signing.ts'
import type { CloudKeys } from './keys/key-directory.ts'

/** Signs what goes to agents with the online key; the delegation that vouches for it goes along. */
export interface CloudSigner {
  /** UTF-8 JSON of a `SignedEnvelope`. */
  sign(message: CloudMessage): string
}

export function createCloudSigner(keys: Pick<CloudKeys, 'online' | 'delegation'>): CloudSigner {
  return {
    sign: (message) => {
      const checked = CloudMessage.parse(message)
      return JSON.stringify(signEnvelope(payloadTypes.cloudMessage, checked, keys.online, keys.delegation))
    },
  }
}
