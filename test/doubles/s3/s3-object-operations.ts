import { childTexts, elements, malformed, parseXml, type S3Answer, S3Refusal, xmlAnswer } from './s3-answer.ts'
import type { Lock, ObjectLockHeaders, Version } from './s3-bucket.ts'
import { bodyChecksum } from './s3-checksums.ts'
import type { S3Operation, S3Request } from './s3-operations.ts'

const LOCK_HEADERS = ['x-amz-object-lock-mode', 'x-amz-object-lock-retain-until-date', 'x-amz-object-lock-legal-hold']
const VERSION = 'versionId'

/** Operations on an object: whole, in parts, its ranges, its retention and hold. */
export const objectOperations: readonly S3Operation[] = [
  {
    name: 'PutObject',
    method: 'PUT',
    on: 'object',
    needs: [],
    headers: ['content-md5', 'if-none-match', 'x-amz-storage-class', ...LOCK_HEADERS],
    run: putObject,
  },
  {
    name: 'GetObject',
    method: 'GET',
    on: 'object',
    needs: [],
    allows: [VERSION],
    headers: ['range', 'if-match'],
    run: getObject,
  },
  {
    name: 'HeadObject',
    method: 'HEAD',
    on: 'object',
    needs: [],
    allows: [VERSION],
    run: (request) => ({ status: 200, headers: describe(versionOf(request)) }),
  },
  {
    name: 'DeleteObject',
    method: 'DELETE',
    on: 'object',
    needs: [],
    allows: [VERSION],
    headers: ['x-amz-bypass-governance-retention'],
    run: (request) => {
      const { bucket, key = '', query } = request
      const deleted = bucket.delete(key, query.get(VERSION), { bypass: bypasses(request) })
      if (deleted === undefined || !bucket.versioned) return { status: 204 }
      const marker = deleted.isDeleteMarker ? { 'x-amz-delete-marker': 'true' } : {}
      return { status: 204, headers: { 'x-amz-version-id': deleted.versionId, ...marker } }
    },
  },
  {
    name: 'CreateMultipartUpload',
    method: 'POST',
    on: 'object',
    needs: ['uploads'],
    headers: ['x-amz-storage-class', ...LOCK_HEADERS],
    run: (request) => {
      const UploadId = request.bucket.startUpload(request.key ?? '', lockHeaders(request))
      return xmlAnswer('InitiateMultipartUploadResult', elements({ Key: request.key, UploadId }))
    },
  },
  {
    name: 'UploadPart',
    method: 'PUT',
    on: 'object',
    needs: ['partNumber', 'uploadId'],
    headers: ['content-md5'],
    run: ({ bucket, key = '', query, body, headers }) => {
      const checked = bodyChecksum(headers, body) !== 'none'
      const partNumber = Number(query.get('partNumber'))
      const etag = bucket.putPart(key, query.get('uploadId') ?? '', partNumber, body, { checked })
      return { status: 200, headers: { etag: `"${etag}"` } }
    },
  },
  {
    name: 'CompleteMultipartUpload',
    method: 'POST',
    on: 'object',
    needs: ['uploadId'],
    run: completeUpload,
  },
  {
    name: 'AbortMultipartUpload',
    method: 'DELETE',
    on: 'object',
    needs: ['uploadId'],
    run: ({ bucket, key = '', query }) => {
      bucket.abortUpload(key, query.get('uploadId') ?? '')
      return { status: 204 }
    },
  },
  {
    name: 'GetObjectRetention',
    method: 'GET',
    on: 'object',
    needs: ['retention'],
    allows: [VERSION],
    run: (request) => {
      const { lock } = versionOf(lockable(request))
      if (lock === undefined) throw noLock()
      return xmlAnswer('Retention', elements({ Mode: lock.mode, RetainUntilDate: lock.retainUntil.toISOString() }))
    },
  },
  {
    name: 'PutObjectRetention',
    method: 'PUT',
    on: 'object',
    needs: ['retention'],
    allows: [VERSION],
    headers: ['content-md5', 'x-amz-bypass-governance-retention'],
    run: (request) => {
      const { Mode, RetainUntilDate } = lockDocument(request, 'Retention', ['Mode', 'RetainUntilDate'])
      const lock = toLock(Mode, RetainUntilDate)
      if (lock === undefined) throw malformed()
      request.bucket.setRetention(versionOf(lockable(request)), lock, { bypass: bypasses(request) })
      return { status: 200 }
    },
  },
  {
    name: 'GetObjectLegalHold',
    method: 'GET',
    on: 'object',
    needs: ['legal-hold'],
    allows: [VERSION],
    run: (request) => {
      const { legalHold } = versionOf(lockable(request))
      if (!legalHold) throw noLock()
      return xmlAnswer('LegalHold', elements({ Status: 'ON' }))
    },
  },
  {
    name: 'PutObjectLegalHold',
    method: 'PUT',
    on: 'object',
    needs: ['legal-hold'],
    allows: [VERSION],
    headers: ['content-md5'],
    run: (request) => {
      const { Status } = lockDocument(request, 'LegalHold', ['Status'])
      if (Status !== 'ON' && Status !== 'OFF') throw malformed()
      versionOf(lockable(request)).legalHold = Status === 'ON'
      return { status: 200 }
    },
  },
]

function putObject(request: S3Request): S3Answer {
  const { bucket, key = '', body, headers, flavour } = request
  const checksum = bodyChecksum(headers, body)
  const lock = lockHeaders(request)
  if ((lock.lock !== undefined || lock.legalHold !== undefined) && checksum === 'none') {
    const text =
      'Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters'
    throw new S3Refusal(400, 'InvalidRequest', text)
  }
  const condition = headers['if-none-match']
  if (condition !== undefined && condition !== '*') throw new S3Refusal(501, 'NotImplemented', 'If-None-Match: * only')
  if (condition !== undefined && flavour.ifNoneMatch === 'honoured' && bucket.exists(key)) {
    throw new S3Refusal(412, 'PreconditionFailed', 'At least one of the pre-conditions you specified did not hold')
  }
  const version = bucket.put(key, body, lock)
  return { status: 200, headers: { etag: `"${version.etag}"`, ...versionHeader(request, version) } }
}

/** RFC 9110, 14.2 "Range": one range, from a first byte on. */
function getObject(request: S3Request): S3Answer {
  const version = versionOf(request)
  const { range, 'if-match': ifMatch } = request.headers
  if (ifMatch !== undefined && ifMatch !== `"${version.etag}"`) {
    throw new S3Refusal(412, 'PreconditionFailed', 'At least one of the pre-conditions you specified did not hold')
  }
  const headers = { ...describe(version), ...versionHeader(request, version) }
  if (range === undefined) return { status: 200, headers, body: version.body }
  const found = /^bytes=(\d+)-(\d+)$/.exec(range)
  if (found === null) throw new S3Refusal(501, 'NotImplemented', `this double does not know the range ${range}`)
  const [first, last] = [Number(found[1]), Number(found[2])]
  const sizeBytes = version.body.length
  if (first >= sizeBytes || last < first) {
    throw new S3Refusal(416, 'InvalidRange', 'The requested range is not satisfiable')
  }
  const body = version.body.subarray(first, last + 1)
  const contentRange = `bytes ${first}-${first + body.length - 1}/${sizeBytes}`
  return {
    status: 206,
    headers: { ...headers, 'content-length': String(body.length), 'content-range': contentRange },
    body,
  }
}

function completeUpload(request: S3Request): S3Answer {
  const { bucket, key = '', query, body } = request
  const root = parseXml(Buffer.from(body).toString('utf8'))
  if (root.name !== 'CompleteMultipartUpload' || root.children.some(({ name }) => name !== 'Part')) throw malformed()
  const parts = root.children.map((part) => {
    const { PartNumber = '', ETag = '' } = childTexts(part, ['PartNumber', 'ETag'])
    return { partNumber: Number(PartNumber), etag: ETag }
  })
  const version = bucket.completeUpload(key, query.get('uploadId') ?? '', parts)
  const headers = versionHeader(request, version)
  return xmlAnswer('CompleteMultipartUploadResult', elements({ Key: key, ETag: `"${version.etag}"` }), headers)
}

function versionOf({ bucket, key = '', query }: S3Request): Version {
  return bucket.get(key, query.get(VERSION))
}

function describe(version: Version): Record<string, string> {
  return {
    'content-length': String(version.body.length),
    'content-type': 'application/octet-stream',
    'accept-ranges': 'bytes',
    'etag': `"${version.etag}"`,
    'last-modified': version.lastModified.toUTCString(),
  }
}

function versionHeader({ bucket }: S3Request, version: Version): Record<string, string> {
  return bucket.versioned ? { 'x-amz-version-id': version.versionId } : {}
}

function lockHeaders({ headers }: S3Request): ObjectLockHeaders {
  const [mode, until, hold] = LOCK_HEADERS.map((name) => headers[name])
  const lock = toLock(mode, until)
  return {
    ...(lock === undefined ? {} : { lock }),
    ...(hold === undefined ? {} : { legalHold: hold === 'ON' }),
  }
}

function toLock(mode: string | undefined, until: string | undefined): Lock | undefined {
  if (mode === undefined && until === undefined) return undefined
  if (mode === undefined || until === undefined) {
    const text = 'x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied'
    throw new S3Refusal(400, 'InvalidArgument', text)
  }
  const retainUntil = new Date(until)
  if (mode !== 'COMPLIANCE' && mode !== 'GOVERNANCE')
    throw new S3Refusal(400, 'InvalidArgument', 'Unknown wormMode directive.')
  if (Number.isNaN(retainUntil.getTime()))
    throw new S3Refusal(400, 'InvalidArgument', 'The retain until date is invalid')
  return { mode, retainUntil }
}

function lockDocument(request: S3Request, root: string, names: readonly string[]): Readonly<Record<string, string>> {
  if (bodyChecksum(request.headers, request.body) === 'none') {
    throw new S3Refusal(
      400,
      'InvalidRequest',
      'Missing required header for this request: Content-MD5 OR x-amz-checksum-*',
    )
  }
  const document = parseXml(Buffer.from(request.body).toString('utf8'))
  if (document.name !== root) throw malformed()
  return childTexts(document, names)
}

function lockable(request: S3Request): S3Request {
  if (request.bucket.objectLock) return request
  throw new S3Refusal(400, 'InvalidRequest', 'Bucket is missing Object Lock Configuration')
}

function bypasses({ headers }: S3Request): boolean {
  return headers['x-amz-bypass-governance-retention'] === 'true'
}

function noLock(): S3Refusal {
  const text = 'The specified object does not have a ObjectLock configuration'
  return new S3Refusal(404, 'NoSuchObjectLockConfiguration', text)
}
