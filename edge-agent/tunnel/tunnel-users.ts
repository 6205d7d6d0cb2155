const ENROL_PREFIX = 'enrol.'
/** 32 bytes, base64url. */
export const ENROLMENT_SECRET = /^[A-Za-z0-9_-]{43}$/

/** The user name capture agents log in with: the key says who they are. */
export const CAPTURE_USER = 'capture'

/** The user name a capture agent logs in with once, when it enrols. */
export function enrolmentUserName(secret: string): string {
  return ENROL_PREFIX + secret
}

/** The secret in such a user name, or undefined where it is another one. */
export function enrolmentSecretOf(userName: string): string | undefined {
  const secret = userName.startsWith(ENROL_PREFIX) ? userName.slice(ENROL_PREFIX.length) : ''
  return ENROLMENT_SECRET.test(secret) ? secret : undefined
}
