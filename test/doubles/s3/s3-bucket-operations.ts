import { elements, parseXml, type S3Answer, S3Refusal, xmlAnswer } from './s3-answer.ts'
import { childTexts, malformed } from './s3-answer.ts'
import { bodyChecksum } from './s3-checksums.ts'
import type { S3Operation, S3Request } from './s3-operations.ts'

const PAGE_MAX = 1000
const DELETE_MAX = 1000

/** Operations on a bucket: ListObjectsV2, ListObjectVersions, DeleteObjects, HeadBucket and its settings. */
export const bucketOperations: readonly S3Operation[] = [
  { name: 'HeadBucket', method: 'HEAD', on: 'bucket', needs: [], run: () => ({ status: 200 }) },
  {
    name: 'GetBucketVersioning',
    method: 'GET',
    on: 'bucket',
    needs: ['versioning'],
    run: ({ bucket }) => xmlAnswer('VersioningConfiguration', bucket.versioned ? elements({ Status: 'Enabled' }) : ''),
  },
  {
    name: 'GetObjectLockConfiguration',
    method: 'GET',
    on: 'bucket',
    needs: ['object-lock'],
    run: ({ bucket }) => {
      if (bucket.objectLock) return xmlAnswer('ObjectLockConfiguration', elements({ ObjectLockEnabled: 'Enabled' }))
      const text = 'Object Lock configuration does not exist for this bucket'
      throw new S3Refusal(404, 'ObjectLockConfigurationNotFoundError', text)
    },
  },
  {
    name: 'ListObjectsV2',
    method: 'GET',
    on: 'bucket',
    needs: ['list-type'],
    allows: ['prefix', 'max-keys', 'continuation-token', 'start-after'],
    run: listObjects,
  },
  {
    name: 'ListObjectVersions',
    method: 'GET',
    on: 'bucket',
    needs: ['versions'],
    allows: ['prefix', 'max-keys', 'key-marker', 'version-id-marker'],
    run: listVersions,
  },
  {
    name: 'DeleteObjects',
    method: 'POST',
    on: 'bucket',
    needs: ['delete'],
    headers: ['content-md5'],
    run: deleteObjects,
  },
]

function listObjects({ bucket, query }: S3Request): S3Answer {
  if (query.get('list-type') !== '2') throw new S3Refusal(501, 'NotImplemented', 'only version 2 of listings')
  const prefix = query.get('prefix') ?? ''
  const token = query.get('continuation-token')
  const after = token === undefined ? (query.get('start-after') ?? '') : decodeToken(token)
  const limit = pageLimit(query)
  const found = bucket
    .versions()
    .filter(({ version, isLatest }) => isLatest && !version.isDeleteMarker)
    .filter(({ key }) => key.startsWith(prefix) && Buffer.compare(Buffer.from(key), Buffer.from(after)) > 0)
  const page = found.slice(0, limit)
  const isTruncated = found.length > page.length
  const contents = page.map(({ key, version }) => {
    const facts = { Key: key, LastModified: version.lastModified.toISOString(), ETag: `"${version.etag}"` }
    return `<Contents>${elements({ ...facts, Size: version.body.length, StorageClass: 'STANDARD' })}</Contents>`
  })
  const head = elements({
    Prefix: prefix,
    KeyCount: page.length,
    MaxKeys: limit,
    IsTruncated: isTruncated,
    NextContinuationToken: isTruncated ? Buffer.from(page.at(-1)?.key ?? '').toString('base64url') : undefined,
  })
  return xmlAnswer('ListBucketResult', head + contents.join(''))
}

function listVersions({ bucket, query }: S3Request): S3Answer {
  const prefix = query.get('prefix') ?? ''
  const keyMarker = query.get('key-marker') ?? ''
  const versionMarker = query.get('version-id-marker')
  if (versionMarker !== undefined && keyMarker === '') {
    throw new S3Refusal(400, 'InvalidArgument', 'A version-id marker cannot be specified without a key marker.')
  }
  const limit = pageLimit(query)
  const all = bucket.versions().filter(({ key }) => key.startsWith(prefix))
  const last = all.findIndex(({ key, version }) => key === keyMarker && version.versionId === versionMarker)
  const isBehind = (key: string): boolean => Buffer.compare(Buffer.from(key), Buffer.from(keyMarker)) > 0
  const found = last === -1 ? all.filter(({ key }) => isBehind(key)) : all.slice(last + 1)
  const page = found.slice(0, limit)
  const isTruncated = found.length > page.length
  const entries = page.map(({ key, version, isLatest }) => {
    const facts = { Key: key, VersionId: version.versionId, IsLatest: isLatest }
    const common = elements({ ...facts, LastModified: version.lastModified.toISOString() })
    if (version.isDeleteMarker) return `<DeleteMarker>${common}</DeleteMarker>`
    return `<Version>${common}${elements({ ETag: `"${version.etag}"`, Size: version.body.length })}</Version>`
  })
  const head = elements({
    Prefix: prefix,
    MaxKeys: limit,
    IsTruncated: isTruncated,
    NextKeyMarker: isTruncated ? page.at(-1)?.key : undefined,
    NextVersionIdMarker: isTruncated ? page.at(-1)?.version.versionId : undefined,
  })
  return xmlAnswer('ListVersionsResult', head + entries.join(''))
}

function deleteObjects({ bucket, body, headers }: S3Request): S3Answer {
  if (bodyChecksum(headers, body) === 'none') {
    throw new S3Refusal(400, 'InvalidRequest', 'Missing required header for this request: Content-MD5')
  }
  const root = parseXml(Buffer.from(body).toString('utf8'))
  const objects = root.children.filter(({ name }) => name === 'Object')
  if (root.name !== 'Delete' || objects.length === 0 || objects.length > DELETE_MAX) throw malformed()
  const results = objects.map((object) => {
    const { Key = '', VersionId } = childTexts(object, ['Key', 'VersionId'])
    try {
      bucket.delete(Key, VersionId, { bypass: false })
      return `<Deleted>${elements({ Key, VersionId })}</Deleted>`
    } catch (error) {
      if (!(error instanceof S3Refusal)) throw error
      return `<Error>${elements({ Key, VersionId, Code: error.code, Message: error.message })}</Error>`
    }
  })
  return xmlAnswer('DeleteResult', results.join(''))
}

function pageLimit(query: ReadonlyMap<string, string>): number {
  const text = query.get('max-keys') ?? String(PAGE_MAX)
  if (!/^\d{1,9}$/.test(text)) throw new S3Refusal(400, 'InvalidArgument', 'Provided max-keys not an integer')
  return Math.min(Number(text), PAGE_MAX)
}

function decodeToken(token: string): string {
  if (!/^[A-Za-z0-9_-]+$/.test(token)) {
    throw new S3Refusal(400, 'InvalidArgument', 'The continuation token provided is incorrect')
  }
  return Buffer.from(token, 'base64url').toString('utf8')
}
