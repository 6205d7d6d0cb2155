import { z } from 'zod'
import { isObjectKey } from '../object-key.ts'

/** What people say about an S3 bucket. Strangers' keys are refused, so that a misspelt setting is noticed. */
export const S3StoreConfig = z.strictObject({
  bucket: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$/),
  /** Absent: Amazon's for the region. */
  endpoint: z.url({ protocol: /^https?$/ }).optional(),
  region: z.string().min(1).default('us-east-1'),
  credentials: z.strictObject({
    accessKeyId: z.string().min(1),
    secretAccessKey: z.string().min(1),
    sessionToken: z.string().min(1).optional(),
  }),
  /** Certificates as PEM that an endpoint of one's own is trusted by, beside the public ones. */
  certificateAuthorities: z.string().includes('-----BEGIN CERTIFICATE-----').optional(),
  /** All keys begin with it: several stores can share a bucket. Ends with a slash. Absent: the whole bucket. */
  prefix: z
    .string()
    .refine((text) => text.endsWith('/') && isObjectKey(text.slice(0, -1)), 'a key with a slash behind it')
    .optional(),
  /** Bucket in the path instead of the host name: what every server of one's own needs. Default: yes with an endpoint. */
  pathStyle: z.boolean().optional(),
  /** As STANDARD_IA; absent: the bucket's default. */
  storageClass: z
    .string()
    .regex(/^[A-Z0-9_]+$/)
    .optional(),
  /** Larger bodies go up in parts (multipart). */
  singlePutMaxBytes: z
    .int()
    .min(5 * 1024 ** 2)
    .max(5 * 1024 ** 3)
    .default(64 * 1024 ** 2),
  partSizeBytes: z
    .int()
    .min(5 * 1024 ** 2)
    .max(5 * 1024 ** 3)
    .default(16 * 1024 ** 2),
  /** Objects a page of a listing has at most. */
  pageMax: z.int().min(1).max(1000).default(1000),
  /** Connections at a time. */
  connectionsMax: z.int().min(1).max(512).default(64),
  /** How long one request may take, beside the time that its bytes take at 128 KiB a second. */
  requestTimeoutMs: z.int().min(100).default(60_000),
})
export type S3StoreConfig = z.infer<typeof S3StoreConfig>
export type S3StoreSettings = z.input<typeof S3StoreConfig>
