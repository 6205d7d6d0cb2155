import { createHash } from 'node:crypto'
import { type AzureAnswer, AzureRefusal, element } from './azure-answer.ts'
import type { BlobVersion, ImmutableContainer, Policy } from './immutable-container.ts'

export interface AzureRequest {
  readonly method: string
  readonly container: ImmutableContainer
  /** Undefined for operations on the container. */
  readonly blob: string | undefined
  readonly query: ReadonlyMap<string, string>
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

interface Operation {
  readonly method: string
  readonly on: 'container' | 'blob'
  /** Values of `restype` and `comp`. */
  readonly restype?: string
  readonly comp?: string
  readonly allows?: readonly string[]
  readonly headers?: readonly string[]
  readonly run: (request: AzureRequest) => AzureAnswer
}

const COMMON_HEADERS =
  /^(host|authorization|user-agent|accept|accept-(encoding|language)|connection|content-(length|type)|expect|sec-fetch-mode|transfer-encoding|date|x-ms-(date|version|client-request-id|return-client-request-id)|traceparent)$/
const POLICY_HEADERS = ['x-ms-immutability-policy-until-date', 'x-ms-immutability-policy-mode']
const PAGE_MAX = 5000

const OPERATIONS: readonly Operation[] = [
  {
    method: 'GET',
    on: 'container',
    restype: 'container',
    run: () => ({
      status: 200,
      headers: { 'x-ms-immutable-storage-with-versioning-enabled': 'true', 'x-ms-has-immutability-policy': 'false' },
    }),
  },
  {
    method: 'GET',
    on: 'container',
    restype: 'account',
    comp: 'properties',
    run: () => ({ status: 200, headers: { 'x-ms-sku-name': 'Premium_LRS', 'x-ms-account-kind': 'BlockBlobStorage' } }),
  },
  {
    method: 'GET',
    on: 'container',
    restype: 'container',
    comp: 'list',
    allows: ['prefix', 'marker', 'maxresults', 'include'],
    run: listBlobs,
  },
  {
    method: 'PUT',
    on: 'blob',
    headers: ['x-ms-blob-type', 'x-ms-blob-content-md5', ...POLICY_HEADERS],
    run: putBlob,
  },
  { method: 'PUT', on: 'blob', comp: 'block', allows: ['blockid'], headers: ['content-md5'], run: putBlock },
  { method: 'PUT', on: 'blob', comp: 'blocklist', headers: POLICY_HEADERS, run: putBlockList },
  { method: 'GET', on: 'blob', allows: ['versionid'], headers: ['x-ms-range', 'if-match'], run: getBlob },
  {
    method: 'HEAD',
    on: 'blob',
    allows: ['versionid'],
    run: (request) => ({ status: 200, headers: describe(versionOf(request)) }),
  },
  {
    method: 'DELETE',
    on: 'blob',
    allows: ['versionid'],
    headers: ['x-ms-delete-snapshots'],
    run: ({ container, blob = '', query, headers }) => {
      if (query.has('versionid') && headers['x-ms-delete-snapshots'] !== undefined) {
        throw new AzureRefusal(400, 'InvalidHeaderValue', 'x-ms-delete-snapshots is for the base blob')
      }
      container.delete(blob, query.get('versionid'))
      return { status: 202 }
    },
  },
  {
    method: 'PUT',
    on: 'blob',
    comp: 'immutabilityPolicies',
    allows: ['versionid'],
    headers: POLICY_HEADERS,
    run: (request) => {
      const policy = policyHeaders(request)
      if (policy === undefined) throw new AzureRefusal(400, 'MissingRequiredHeader')
      request.container.setPolicy(versionOf(request), policy)
      return { status: 200 }
    },
  },
  {
    method: 'DELETE',
    on: 'blob',
    comp: 'immutabilityPolicies',
    allows: ['versionid'],
    run: (request) => {
      request.container.deletePolicy(versionOf(request))
      return { status: 200 }
    },
  },
  {
    method: 'PUT',
    on: 'blob',
    comp: 'legalhold',
    allows: ['versionid'],
    headers: ['x-ms-legal-hold'],
    run: (request) => {
      const value = request.headers['x-ms-legal-hold']
      if (value !== 'true' && value !== 'false') throw new AzureRefusal(400, 'InvalidHeaderValue')
      versionOf(request).legalHold = value === 'true'
      return { status: 200 }
    },
  },
]

/** Finds what is asked for and does it. What this double does not know is refused, never passed over. */
export function runOperation(request: AzureRequest): AzureAnswer {
  const { method, blob, query, headers } = request
  const on = blob === undefined ? 'container' : 'blob'
  const operation = OPERATIONS.find(
    (one) =>
      one.method === method && one.on === on && one.restype === query.get('restype') && one.comp === query.get('comp'),
  )
  const what = `${method} on ${on} with ${[...query.keys()].join('&')}`
  if (operation === undefined) throw new AzureRefusal(501, 'APINotImplemented', `this double does not know ${what}`)
  const allowed = new Set(['restype', 'comp', ...(operation.allows ?? [])])
  const strange =
    [...query.keys()].find((name) => !allowed.has(name)) ??
    Object.keys(headers).find((name) => !COMMON_HEADERS.test(name) && operation.headers?.includes(name) !== true)
  if (strange !== undefined) {
    throw new AzureRefusal(501, 'APINotImplemented', `this double does not know ${what} and ${strange}`)
  }
  return operation.run(request)
}

function putBlob(request: AzureRequest): AzureAnswer {
  const { container, blob = '', body, headers } = request
  if (headers['x-ms-blob-type'] !== 'BlockBlob') throw new AzureRefusal(400, 'InvalidHeaderValue', 'only block blobs')
  expectMd5(headers['x-ms-blob-content-md5'], body)
  return created(container.put(blob, body, policyHeaders(request)))
}

function putBlock({ container, blob = '', query, body, headers }: AzureRequest): AzureAnswer {
  expectMd5(headers['content-md5'], body)
  const id = query.get('blockid') ?? ''
  const length = Buffer.from(id, 'base64').length
  if (length === 0 || length > 64)
    throw new AzureRefusal(400, 'InvalidQueryParameterValue', 'a block id has 64 bytes at most')
  container.stageBlock(blob, id, body)
  return { status: 201 }
}

function putBlockList(request: AzureRequest): AzureAnswer {
  const text = Buffer.from(request.body).toString('utf8')
  if (/<(Committed|Uncommitted)>/.test(text)) throw new AzureRefusal(501, 'APINotImplemented', 'only the latest blocks')
  const ids = [...text.matchAll(/<Latest>([^<]+)<\/Latest>/g)].map(([, id = '']) => id)
  return created(request.container.commitBlocks(request.blob ?? '', ids, policyHeaders(request)))
}

function getBlob(request: AzureRequest): AzureAnswer {
  const version = versionOf(request)
  const { 'x-ms-range': range, 'if-match': ifMatch } = request.headers
  if (ifMatch !== undefined && ifMatch !== `"${version.etag}"`) throw new AzureRefusal(412, 'ConditionNotMet')
  const headers = describe(version)
  if (range === undefined) return { status: 200, headers, body: version.body }
  const found = /^bytes=(\d+)-(\d+)$/.exec(range)
  if (found === null) throw new AzureRefusal(501, 'APINotImplemented', `the range ${range}`)
  const [first, last] = [Number(found[1]), Number(found[2])]
  const sizeBytes = version.body.length
  if (first >= sizeBytes) throw new AzureRefusal(416, 'InvalidRange', 'The range specified is invalid')
  const body = version.body.subarray(first, last + 1)
  const contentRange = `bytes ${first}-${first + body.length - 1}/${sizeBytes}`
  return {
    status: 206,
    headers: { ...headers, 'content-length': String(body.length), 'content-range': contentRange },
    body,
  }
}

function listBlobs({ container, query }: AzureRequest): AzureAnswer {
  const prefix = query.get('prefix') ?? ''
  const include = new Set((query.get('include') ?? '').split(',').filter((name) => name !== ''))
  const strange = [...include].find((name) => !['versions', 'immutabilitypolicy', 'legalhold'].includes(name))
  if (strange !== undefined) throw new AzureRefusal(501, 'APINotImplemented', `include=${strange}`)
  const marker = Number(query.get('marker') ?? '0')
  const limit = Number(query.get('maxresults') ?? PAGE_MAX)
  const all = container
    .versions()
    .filter(({ name, isCurrent }) => name.startsWith(prefix) && (isCurrent || include.has('versions')))
  const page = all.slice(marker, marker + limit)
  const blobs = page.map(({ name, version, isCurrent }) => {
    const policy = include.has('immutabilitypolicy') ? version.policy : undefined
    const properties = [
      element('Last-Modified', version.lastModified.toUTCString()),
      element('Etag', version.etag),
      element('Content-Length', version.body.length),
      element('BlobType', 'BlockBlob'),
      element('ImmutabilityPolicyUntilDate', policy?.expiresOn.toUTCString()),
      element('ImmutabilityPolicyMode', policy?.mode),
      include.has('legalhold') && version.legalHold ? element('LegalHold', true) : '',
    ]
    const id = include.has('versions') ? element('VersionId', version.versionId) : ''
    const current = include.has('versions') && isCurrent ? element('IsCurrentVersion', true) : ''
    return `<Blob>${element('Name', name)}${id}${current}<Properties>${properties.join('')}</Properties></Blob>`
  })
  const next = marker + limit < all.length ? String(marker + limit) : ''
  const document = `<Blobs>${blobs.join('')}</Blobs>${element('NextMarker', next)}`
  return {
    status: 200,
    headers: { 'content-type': 'application/xml' },
    body: `<?xml version="1.0" encoding="utf-8"?><EnumerationResults>${document}</EnumerationResults>`,
  }
}

function versionOf({ container, blob = '', query }: AzureRequest): BlobVersion {
  return container.get(blob, query.get('versionid'))
}

function created(version: BlobVersion): AzureAnswer {
  const headers = { 'etag': `"${version.etag}"`, 'x-ms-version-id': version.versionId }
  return { status: 201, headers: { ...headers, 'last-modified': version.lastModified.toUTCString() } }
}

function describe(version: BlobVersion): Record<string, string> {
  const { policy } = version
  return {
    'content-length': String(version.body.length),
    'content-type': 'application/octet-stream',
    'etag': `"${version.etag}"`,
    'last-modified': version.lastModified.toUTCString(),
    'x-ms-blob-type': 'BlockBlob',
    'x-ms-version-id': version.versionId,
    ...(policy === undefined
      ? {}
      : {
          'x-ms-immutability-policy-until-date': policy.expiresOn.toUTCString(),
          'x-ms-immutability-policy-mode': policy.mode,
        }),
    ...(version.legalHold ? { 'x-ms-legal-hold': 'true' } : {}),
  }
}

function policyHeaders({ headers }: AzureRequest): Policy | undefined {
  const [until, mode] = POLICY_HEADERS.map((name) => headers[name])
  if (until === undefined && mode === undefined) return undefined
  const expiresOn = new Date(until ?? '')
  const wanted = (mode ?? 'unlocked').toLowerCase()
  if (Number.isNaN(expiresOn.getTime()) || (wanted !== 'locked' && wanted !== 'unlocked')) {
    throw new AzureRefusal(400, 'InvalidHeaderValue')
  }
  return { expiresOn, mode: wanted }
}

function expectMd5(given: string | undefined, body: Uint8Array): void {
  if (given === undefined || given === createHash('md5').update(body).digest('base64')) return
  throw new AzureRefusal(400, 'Md5Mismatch', 'The MD5 value specified in the request did not match')
}
