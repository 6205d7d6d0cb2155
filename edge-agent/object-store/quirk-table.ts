import type { ProbedCapability } from './store-probe.ts'

export type Vendor = 'Amazon S3' | 'Wasabi' | 'Backblaze B2' | 'MinIO' | 'Ceph' | 'Azure Blob' | 'Azurite'

/** What a vendor's storage does otherwise than Amazon's documents say, and what follows for us. */
export interface Quirk {
  readonly vendor: Vendor
  readonly capability: ProbedCapability
  readonly fact: string
  /** What this software does about it. */
  readonly consequence: string
  /** Where the fact is from. */
  readonly source: string
}

/**
 * Facts that no probe finds, or that explain what a probe found. Code does not branch on the vendor: it does what all of
 * them take, and asks the endpoint where they differ.
 */
export const quirkTable: readonly Quirk[] = [
  {
    vendor: 'Amazon S3',
    capability: 'object-lock',
    fact: 'A put with a retention, and each part of an upload with one, must hold Content-MD5 or x-amz-checksum',
    consequence: 'Content-MD5 is sent on buckets with Object Lock',
    source: 'Amazon S3 API Reference, PutObject; s3tools/s3cmd issue 1436 for parts',
  },
  {
    vendor: 'Amazon S3',
    capability: 'object-lock',
    fact: 'A delete that Object Lock forbids is answered AccessDenied, as is one without the right',
    consequence: 'The version is asked for its retention and hold to tell which it was',
    source: 'Amazon S3 User Guide, Object Lock considerations',
  },
  {
    vendor: 'Amazon S3',
    capability: 'multipart',
    fact: 'CompleteMultipartUpload may answer 200 and then an error in the body',
    consequence: 'The body is read before the upload counts as done',
    source: 'Amazon S3 API Reference, CompleteMultipartUpload',
  },
  {
    vendor: 'Amazon S3',
    capability: 'conditional-put',
    fact: 'If-None-Match is honoured; two requests at a time may be answered 409',
    consequence: 'Nothing relies on it: keys are unique',
    source: 'Amazon S3 User Guide, How to prevent object overwrites with conditional writes',
  },
  {
    vendor: 'Wasabi',
    capability: 'batch-delete',
    fact: 'An object that is deleted within 90 days of its put is charged for the rest of them',
    consequence: 'Retentions and collections under 90 days save space, not money',
    source: 'docs.wasabi.com, 90-Day Storage Policy',
  },
  {
    vendor: 'Wasabi',
    capability: 'object-lock',
    fact: 'Beside Object Lock there is a compliance setting of the bucket, which is something else',
    consequence: 'Only Object Lock counts as immutability',
    source: 'docs.wasabi.com, Compliance Policy With the Wasabi S3 API',
  },
  {
    vendor: 'Wasabi',
    capability: 'range-reads',
    fact: 'Too many requests are answered 400 RequestRateLimitExceeded, and an account’s share grows with what it stores',
    consequence: 'It counts as throttling and is tried again later',
    source: 'docs.wasabi.com, Fair Use Policies; Wasabi rate limits as published by API Evangelist',
  },
  {
    vendor: 'Backblaze B2',
    capability: 'checksum-headers',
    fact: 'x-amz-checksum and x-amz-sdk-checksum-algorithm were refused with InvalidArgument until the middle of 2025',
    consequence: 'They are never sent; Content-MD5 is, where a checksum is demanded',
    source: 'stonith404/pingvin-share issue 798; ClickHouse/ClickHouse pull request 107318',
  },
  {
    vendor: 'Backblaze B2',
    capability: 'versioning',
    fact: 'Every bucket keeps versions; deleting by name only hides the newest',
    consequence: 'A delete deletes every version by its id',
    source: 'backblaze.com/docs, S3-Compatible API Bucket Versions',
  },
  {
    vendor: 'Backblaze B2',
    capability: 'range-reads',
    fact: 'Listing a bucket of many objects takes minutes or times out',
    consequence: 'Nothing is listed while a backup or restore runs',
    source: 'iterate-ch/cyberduck issue 14527; restic/restic issue 1959',
  },
  {
    vendor: 'MinIO',
    capability: 'checksum-headers',
    fact: 'Older servers refuse the checksum trailers that current SDKs send by default',
    consequence: 'Checksums are sent only where they are demanded, and then as Content-MD5',
    source: 'langgenius/dify pull request 35117; owncast/owncast pull request 5190',
  },
  {
    vendor: 'MinIO',
    capability: 'object-lock',
    fact: 'A put with a retention and without Content-MD5 is taken, which Amazon refuses',
    consequence: 'None: Content-MD5 is sent all the same',
    source: 'minio/minio issue 16480',
  },
  {
    vendor: 'Ceph',
    capability: 'conditional-put',
    fact: 'In buckets with versions If-None-Match is ignored: the object is overwritten',
    consequence: 'Nothing relies on it: keys are unique',
    source: 'radosgw 16.2.15, tried',
  },
  {
    vendor: 'Ceph',
    capability: 'retention-of-multipart',
    fact: 'The retention of an upload in parts is forgotten',
    consequence: 'It is read back after each such upload, and set where it is missing',
    source: 'radosgw 16.2.15, tried',
  },
  {
    vendor: 'Ceph',
    capability: 'payload-hash',
    fact: 'The signed hash of an empty body is not compared with it',
    consequence: 'An empty body is compared here',
    source: 'radosgw 16.2.15, tried',
  },
  {
    vendor: 'Azure Blob',
    capability: 'object-lock',
    fact: 'The current version cannot be deleted by its id; it is made a former one first',
    consequence: 'Every version is looked at before the first is deleted',
    source: 'Azure Storage documentation, Blob versioning',
  },
  {
    vendor: 'Azurite',
    capability: 'object-lock',
    fact: 'Immutability is answered 501',
    consequence: 'It is not offered; tests use a double of the published API',
    source: 'Azurite 3.35.0, tried',
  },
]

/** By the name of the host, or by what the server calls itself. Undefined: it does not tell. */
export function guessVendor(host: string, server: string | undefined): Vendor | undefined {
  if (/(^|\.)amazonaws\.com(\.cn)?$/.test(host)) return 'Amazon S3'
  if (/(^|\.)wasabisys\.com$/.test(host)) return 'Wasabi'
  if (/(^|\.)backblazeb2\.com$/.test(host)) return 'Backblaze B2'
  if (/(^|\.)blob\.core\.windows\.net$/.test(host)) return 'Azure Blob'
  if (server === undefined) return undefined
  if (/minio/i.test(server)) return 'MinIO'
  if (/ceph/i.test(server)) return 'Ceph'
  if (/azurite/i.test(server)) return 'Azurite'
  if (/^AmazonS3$/.test(server)) return 'Amazon S3'
  return undefined
}

export function quirksOf(vendor: Vendor | undefined): readonly Quirk[] {
  return quirkTable.filter((quirk) => quirk.vendor === vendor)
}
