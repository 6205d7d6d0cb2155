/** A capture agent whose key was let in, or was until it was revoked. */
export interface CaptureAgentRecord {
  readonly captureAgentId: string
  /** Of its host, for people. */
  readonly name: string
  /** Ports it may ask to be forwarded. */
  readonly ports: readonly number[]
  /** `SHA256:…`; one capture agent each. */
  readonly keyFingerprint: string
  /** base64, as it travels in SSH. */
  readonly publicKey: string
  readonly enrolledAt: Date
  readonly revokedAt?: Date
}

/** A one-use token that makes one key a capture agent's. The secret itself is nowhere. */
export interface CaptureTokenRecord {
  /** SHA-256 of the secret, hexadecimal. */
  readonly secretHash: string
  readonly captureAgentId: string
  readonly name: string
  readonly ports: readonly number[]
  readonly expiresAt: Date
  /** Fingerprint of the key it was used for. */
  readonly usedBy?: string
}

export interface CaptureAgentStore {
  /** Revoked ones too. Ordered by name, then by age. */
  list(): Promise<CaptureAgentRecord[]>
  findByKey(keyFingerprint: string): Promise<CaptureAgentRecord | undefined>
  /** An id or a key that is there already keeps its row. */
  insert(record: CaptureAgentRecord): Promise<void>
  /** Returns false where there is none with that id; one that was revoked before stays as it is. */
  revoke(captureAgentId: string, at: Date): Promise<boolean>
  insertToken(token: CaptureTokenRecord): Promise<void>
  /** Locks the token until the transaction ends. */
  findToken(secretHash: string): Promise<CaptureTokenRecord | undefined>
  setTokenUsed(secretHash: string, keyFingerprint: string): Promise<void>
  /** Deletes tokens that expired before `before`. */
  trimTokens(before: Date): Promise<void>
}
