import { createHmac, timingSafeEqual } from 'node:crypto'
import { AzureRefusal } from './azure-answer.ts'

const SKEW_MAX_MS = 15 * 60 * 1000
/** In the order of the string to sign. */
const STANDARD_HEADERS = [
  'content-encoding',
  'content-language',
  'content-length',
  'content-md5',
  'content-type',
  'date',
  'if-modified-since',
  'if-match',
  'if-none-match',
  'if-unmodified-since',
  'range',
]

export interface SignedRequest {
  readonly method: string
  /** As it was sent, without the query. */
  readonly rawPath: string
  readonly query: ReadonlyMap<string, string>
  readonly headers: Readonly<Record<string, string>>
}

/** Refuses what the service refuses: "Authorize with Shared Key", versions from 2015-02-21 on. */
export function checkSharedKey(
  request: SignedRequest,
  facts: { account: string; accountKey: string; now: Date },
): void {
  const { method, rawPath, query, headers } = request
  const date = headers['x-ms-date'] ?? headers['date'] ?? ''
  if (!(Math.abs(Date.parse(date) - facts.now.getTime()) <= SKEW_MAX_MS)) {
    throw new AzureRefusal(403, 'AuthenticationFailed', `Request date header too old: '${date}'`)
  }
  const found = /^SharedKey ([^:]+):(.+)$/.exec(headers['authorization'] ?? '')
  if (found === null) throw new AzureRefusal(401, 'NoAuthenticationInformation')
  const lines = STANDARD_HEADERS.map((name) => {
    const value = headers[name] ?? ''
    if (name === 'content-length') return value === '0' ? '' : value
    return name === 'date' && headers['x-ms-date'] !== undefined ? '' : value
  })
  const own = Object.keys(headers)
    .filter((name) => name.startsWith('x-ms-'))
    .toSorted()
    .map((name) => `${name}:${headers[name]}`)
  const parameters = [...query.keys()].toSorted().map((name) => `${name}:${query.get(name)}`)
  const resource = [`/${facts.account}${rawPath}`, ...parameters].join('\n')
  const toSign = [method, ...lines, ...own, resource].join('\n')
  const wanted = createHmac('sha256', Buffer.from(facts.accountKey, 'base64')).update(toSign, 'utf8').digest()
  const given = Buffer.from(found[2] ?? '', 'base64')
  if (found[1] === facts.account && given.length === wanted.length && timingSafeEqual(given, wanted)) return
  throw new AzureRefusal(403, 'AuthenticationFailed', 'The MAC signature found in the HTTP request is not the same')
}
