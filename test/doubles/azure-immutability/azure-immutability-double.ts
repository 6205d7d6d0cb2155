import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AzureAnswer, AzureRefusal, refusalXml } from './azure-answer.ts'
import { runOperation } from './azure-operations.ts'
import { checkSharedKey } from './check-shared-key.ts'
import { ImmutableContainer } from './immutable-container.ts'

export interface AzureDouble extends AsyncDisposable {
  readonly account: string
  readonly accountKey: string
  readonly endpoint: string
  /** The only container that it has. */
  readonly containerName: string
  readonly container: ImmutableContainer
}

export interface AzureDoubleOptions {
  readonly now?: () => Date
  /** Asked before each request: an error of the service instead of the answer; `late`: the request was done. */
  readonly fault?: (
    method: string,
  ) => { readonly status: number; readonly code: string; readonly late?: boolean } | undefined
}

/**
 * One container of Azure Blob Storage with version-level immutability, which Azurite does not have; strict, and with an
 * error for everything it does not know. The documents it follows are named where they are followed.
 */
export async function startAzureImmutabilityDouble(options: AzureDoubleOptions = {}): Promise<AzureDouble> {
  const now = options.now ?? (() => new Date())
  const account = 'sendensedouble'
  const accountKey = randomBytes(64).toString('base64')
  const containerName = 'immutable'
  const container = new ImmutableContainer(now)
  const answerTo = async (request: IncomingMessage): Promise<AzureAnswer> => {
    const body = await readAll(request)
    const method = request.method ?? ''
    const fault = options.fault?.(method)
    const refusal = fault === undefined ? undefined : new AzureRefusal(fault.status, fault.code)
    if (refusal !== undefined && fault?.late !== true) throw refusal
    const [rawPath = '', rawQuery = ''] = (request.url ?? '').split('?')
    const query = new Map(new URLSearchParams(rawQuery))
    const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)]))
    checkSharedKey({ method, rawPath, query, headers }, { account, accountKey, now: now() })
    const [, accountName, name, ...rest] = decodeURIComponent(rawPath).split('/')
    if (accountName !== account) throw new AzureRefusal(404, 'ResourceNotFound')
    if (name !== containerName) throw new AzureRefusal(404, 'ContainerNotFound')
    const blob = rest.length === 0 ? undefined : rest.join('/')
    const answer = runOperation({ method, container, blob, query, headers, body })
    if (refusal !== undefined) throw refusal
    return answer
  }
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { status, headers, body } = await answerTo(request).catch(toAnswer)
    response.sendDate = false
    const requestId = randomBytes(8).toString('hex')
    response.writeHead(status, { 'date': now().toUTCString(), 'x-ms-request-id': requestId, ...headers })
    response.end(request.method === 'HEAD' ? undefined : Buffer.from(body ?? ''))
  }
  const server = createServer((request, response) => {
    serve(request, response).catch(() => response.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new TypeError('a TCP server has an address with a port')
  return {
    account,
    accountKey,
    endpoint: `http://127.0.0.1:${address.port}/${account}`,
    containerName,
    container,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

function toAnswer(error: unknown): AzureAnswer {
  const refusal = error instanceof AzureRefusal ? error : new AzureRefusal(500, 'InternalError', String(error))
  const headers = { 'x-ms-error-code': refusal.code, 'content-type': 'application/xml' }
  return { status: refusal.status, headers, body: refusalXml(refusal) }
}

async function readAll(request: IncomingMessage): Promise<Uint8Array> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks)
}
