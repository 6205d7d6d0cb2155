import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { setTimeout as delay } from 'node:timers/promises'
import { checkSignature } from './check-signature.ts'
import { refusalXml, type S3Answer, S3Refusal } from './s3-answer.ts'
import { S3Bucket } from './s3-bucket.ts'
import { runOperation, type S3Flavour } from './s3-operations.ts'

/**
 * slow-down: 503 SlowDown, nothing done · internal-error: 500, nothing done · late-error: done, then 500 · reset: the
 * connection ends, nothing done · late-reset: done, then the connection ends · truncated: the answer's body ends early ·
 * stall: no answer · error-in-200: status 200 with an error inside, as CompleteMultipartUpload may answer.
 */
export type S3Fault =
  | 'slow-down'
  | 'internal-error'
  | 'late-error'
  | 'reset'
  | 'late-reset'
  | 'truncated'
  | 'stall'
  | 'error-in-200'

export interface S3DoubleOptions extends Partial<S3Flavour> {
  readonly region?: string
  /** Serves HTTPS with these; PEM. */
  readonly tls?: { readonly key: string; readonly cert: string }
  /** Its clock. Default: the system's. */
  readonly now?: () => Date
  /** How long every answer takes more than it must. Default 0. */
  readonly latencyMs?: number
  /** Asked before each request. Undefined: no fault. */
  readonly fault?: (operation: string) => S3Fault | undefined
}

export interface S3Double extends AsyncDisposable {
  readonly endpoint: string
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string }
  readonly region: string
  /** What was asked for, in order: `PutObject 200`. */
  readonly log: readonly string[]
  /** How many connections were opened to it. */
  connectionCount(): number
  createBucket(kind: { readonly versioned?: boolean; readonly objectLock?: boolean }): string
  bucket(name: string): S3Bucket
  /** As if their owner had deleted them all. */
  removeBuckets(): void
  /** How far its clock is ahead of ours. */
  setClockOffset(offsetMs: number): void
}

/**
 * An S3 server in this process, for faults and speed: strict where Amazon is strict, and with an error for everything it
 * does not know. The documents it follows are named where they are followed; Ceph is what shows that it tells the truth.
 */
export async function startS3Double(options: S3DoubleOptions = {}): Promise<S3Double> {
  const buckets = new Map<string, S3Bucket>()
  const credentials = { accessKeyId: 'AKIADOUBLE', secretAccessKey: randomUUID() }
  const region = options.region ?? 'us-east-1'
  const log: string[] = []
  let offsetMs = 0
  const now = (): Date => new Date((options.now?.() ?? new Date()).getTime() + offsetMs)
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const facts = { buckets, credentials, region, now, log, options }
    serve(request, response, facts).catch((error: unknown) => {
      log.push(`the double itself failed: ${String(error)}`)
      response.destroy()
    })
  }
  const { tls } = options
  const server = tls === undefined ? createServer(onRequest) : createTlsServer(tls, onRequest)
  let connections = 0
  server.on('connection', () => (connections += 1))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    endpoint: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${portOf(server)}`,
    credentials,
    region,
    log,
    connectionCount: () => connections,
    createBucket: ({ versioned = false, objectLock = false }) => {
      const name = `bucket-${randomUUID()}`
      buckets.set(name, new S3Bucket({ versioned, objectLock, now }))
      return name
    },
    bucket: (name) => expectBucket(buckets, name),
    removeBuckets: () => buckets.clear(),
    setClockOffset: (milliseconds) => (offsetMs = milliseconds),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

interface Facts {
  readonly buckets: ReadonlyMap<string, S3Bucket>
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string }
  readonly region: string
  readonly now: () => Date
  readonly log: string[]
  readonly options: S3DoubleOptions
}

async function serve(request: IncomingMessage, response: ServerResponse, facts: Facts): Promise<void> {
  const body = await readAll(request)
  if (facts.options.latencyMs !== undefined) await delay(facts.options.latencyMs)
  const requestId = randomBytes(8).toString('hex').toUpperCase()
  let name = `${request.method} ${request.url}`
  let answer: S3Answer
  let fault: S3Fault | undefined
  try {
    const query = new URL(request.url ?? '/', 'http://double').searchParams
    fault = facts.options.fault?.(query.get('x-id') ?? request.method ?? '')
    if (fault === 'stall') return
    if (fault === 'reset') return void response.destroy()
    if (fault === 'slow-down') throw new S3Refusal(503, 'SlowDown', 'Please reduce your request rate.')
    if (fault === 'internal-error') throw internalError()
    const done = run(request, body, facts)
    name = done.name
    answer = done.answer
    if (fault === 'late-reset') return void response.destroy()
    if (fault === 'late-error') throw internalError()
    if (fault === 'error-in-200') answer = { status: 200, body: refusalXml(internalError(), requestId) }
  } catch (error) {
    if (!(error instanceof S3Refusal)) throw error
    answer = {
      status: error.status,
      headers: { 'content-type': 'application/xml' },
      body: refusalXml(error, requestId),
    }
  } finally {
    facts.log.push(`${name} ${fault ?? ''}`.trim())
  }
  response.sendDate = false
  response.writeHead(answer.status, {
    'date': facts.now().toUTCString(),
    'server': 'AmazonS3',
    'x-amz-request-id': requestId,
    ...answer.headers,
  })
  const bytes = Buffer.from(answer.body ?? '')
  if (request.method === 'HEAD') return void response.end()
  if (fault !== 'truncated' || bytes.length < 2) return void response.end(bytes)
  response.write(bytes.subarray(0, Math.floor(bytes.length / 2)), () => response.destroy())
}

function run(request: IncomingMessage, body: Uint8Array, { buckets, credentials, region, now, options }: Facts) {
  const [rawPath = '/', rawQuery = ''] = (request.url ?? '/').split('?')
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(request.headers)) headers[name] = String(value)
  const method = request.method ?? ''
  checkSignature({ method, rawPath, rawQuery, headers, body }, { ...credentials, region, now: now() })
  const [, bucketName = '', ...rest] = decodeURIComponent(rawPath).split('/')
  const key = rest.join('/')
  const { checksumHeaders = 'taken', ifNoneMatch = 'honoured' } = options
  return runOperation({
    method,
    bucket: expectBucket(buckets, bucketName),
    key: key === '' ? undefined : key,
    query: new Map(new URLSearchParams(rawQuery)),
    headers,
    body,
    flavour: { checksumHeaders, ifNoneMatch },
  })
}

function expectBucket(buckets: ReadonlyMap<string, S3Bucket>, name: string): S3Bucket {
  const found = buckets.get(name)
  if (found === undefined) throw new S3Refusal(404, 'NoSuchBucket', 'The specified bucket does not exist')
  return found
}

function internalError(): S3Refusal {
  return new S3Refusal(500, 'InternalError', 'We encountered an internal error. Please try again.')
}

async function readAll(request: IncomingMessage): Promise<Uint8Array> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks)
}

function portOf(server: Pick<Server, 'address'>): number {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new TypeError('a TCP server has an address with a port')
  return address.port
}
