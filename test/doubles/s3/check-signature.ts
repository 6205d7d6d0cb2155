import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { S3Refusal } from './s3-answer.ts'

const SKEW_MAX_MS = 15 * 60 * 1000
const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([a-z0-9-]+)\/s3\/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$/

export interface SignedRequest {
  readonly method: string
  /** As it was sent, without the query. */
  readonly rawPath: string
  readonly rawQuery: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

export interface SignatureFacts {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly region: string
  readonly now: Date
}

/**
 * Refuses a request that Amazon would refuse: "Authenticating Requests: Using the Authorization Header (AWS Signature
 * Version 4)", and the error codes of "Error Responses". Every x-amz- header must be signed; the body must be what its hash
 * says.
 */
export function checkSignature(request: SignedRequest, facts: SignatureFacts): void {
  const { headers } = request
  const authorization = headers['authorization']
  if (authorization === undefined) throw new S3Refusal(403, 'AccessDenied', 'Access Denied')
  const found = AUTHORIZATION.exec(authorization)
  if (found === null) {
    throw new S3Refusal(400, 'AuthorizationHeaderMalformed', 'The authorization header is malformed')
  }
  const [, accessKeyId = '', scopeDate = '', region = '', signedHeaders = '', signature = ''] = found
  if (accessKeyId !== facts.accessKeyId) {
    throw new S3Refusal(403, 'InvalidAccessKeyId', 'The AWS Access Key Id you provided does not exist in our records.')
  }
  if (region !== facts.region) {
    const text = `The authorization header is malformed; the region '${region}' is wrong; expecting '${facts.region}'`
    throw new S3Refusal(400, 'AuthorizationHeaderMalformed', text, { Region: facts.region })
  }
  const requestTime = headers['x-amz-date'] ?? ''
  checkTime(requestTime, facts.now)
  const names = signedHeaders.split(';')
  const mustBeSigned = Object.keys(headers).filter((name) => name === 'host' || name.startsWith('x-amz-'))
  const unsigned = mustBeSigned.find((name) => !names.includes(name))
  if (unsigned !== undefined) {
    throw new S3Refusal(
      403,
      'AccessDenied',
      `There were headers present in the request which were not signed: ${unsigned}`,
    )
  }
  const canonical = canonicalRequest(request, names)
  const scope = `${scopeDate}/${region}/s3/aws4_request`
  const toSign = ['AWS4-HMAC-SHA256', requestTime, scope, sha256(canonical)].join('\n')
  const key = ['aws4_request', 's3', region, scopeDate].reduceRight<Buffer>(
    (secret, part) => hmac(secret, part),
    Buffer.from(`AWS4${facts.secretAccessKey}`),
  )
  if (!timingSafeEqual(hmac(key, toSign), Buffer.from(signature, 'hex')) || !requestTime.startsWith(scopeDate)) {
    const text = 'The request signature we calculated does not match the signature you provided.'
    throw new S3Refusal(403, 'SignatureDoesNotMatch', text)
  }
  checkBody(headers['x-amz-content-sha256'], request.body)
}

function checkTime(requestTime: string, now: Date): void {
  const parts = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(requestTime)
  if (parts === null)
    throw new S3Refusal(403, 'AccessDenied', 'AWS authentication requires a valid Date or x-amz-date header')
  const [, year, month, day, hour, minute, second] = parts
  const sent = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
  if (Math.abs(sent - now.getTime()) <= SKEW_MAX_MS) return
  const text = 'The difference between the request time and the current time is too large.'
  throw new S3Refusal(403, 'RequestTimeTooSkewed', text, {
    RequestTime: requestTime,
    ServerTime: now.toISOString(),
    MaxAllowedSkewMilliseconds: String(SKEW_MAX_MS),
  })
}

function checkBody(hash: string | undefined, body: Uint8Array): void {
  if (hash === undefined) {
    throw new S3Refusal(400, 'InvalidRequest', 'Missing required header for this request: x-amz-content-sha256')
  }
  if (hash === 'UNSIGNED-PAYLOAD') return
  if (hash.startsWith('STREAMING-')) throw new S3Refusal(501, 'NotImplemented', `this double takes no ${hash}`)
  if (hash === sha256(body)) return
  const text = 'The provided x-amz-content-sha256 header does not match what was computed.'
  throw new S3Refusal(400, 'XAmzContentSHA256Mismatch', text)
}

function canonicalRequest({ method, rawPath, rawQuery, headers }: SignedRequest, names: readonly string[]): string {
  const query = rawQuery
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair) => (pair.includes('=') ? pair : `${pair}=`))
    .toSorted()
    .join('&')
  const lines = names.map((name) => `${name}:${(headers[name] ?? '').trim().replaceAll(/ +/g, ' ')}\n`).join('')
  return [method, rawPath, query, lines, names.join(';'), headers['x-amz-content-sha256'] ?? ''].join('\n')
}

function hmac(key: Uint8Array, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}
