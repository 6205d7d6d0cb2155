import { z } from 'zod'
import { isObjectKey } from '../object-key.ts'

const MIB = 1024 ** 2

/** What people say about a container of Azure Blob Storage. Strangers' settings are refused. */
export const AzureStoreConfig = z.strictObject({
  account: z.string().regex(/^[a-z0-9]{3,24}$/),
  container: z.string().regex(/^[a-z0-9](-?[a-z0-9]){2,62}$/),
  /** Absent: https://ACCOUNT.blob.core.windows.net. */
  endpoint: z.url({ protocol: /^https?$/ }).optional(),
  credentials: z.union([
    z.strictObject({ accountKey: z.base64().min(1) }),
    /** A shared access signature: the query of its URL. */
    z.strictObject({ sasToken: z.string().min(1) }),
  ]),
  /** All keys begin with it: several stores can share a container. Ends with a slash. */
  prefix: z
    .string()
    .refine((text) => text.endsWith('/') && isObjectKey(text.slice(0, -1)), 'a key with a slash behind it')
    .optional(),
  /** Larger bodies go up in blocks. */
  singlePutMaxBytes: z
    .int()
    .min(1)
    .max(4000 * MIB)
    .default(64 * MIB),
  blockSizeBytes: z
    .int()
    .min(64 * 1024)
    .max(4000 * MIB)
    .default(16 * MIB),
  /** Objects a page of a listing has at most. */
  pageMax: z.int().min(1).max(5000).default(5000),
  /** How long one request may take, beside the time that its bytes take at 128 KiB a second. */
  requestTimeoutMs: z.int().min(100).default(60_000),
})
export type AzureStoreConfig = z.infer<typeof AzureStoreConfig>
export type AzureStoreSettings = z.input<typeof AzureStoreConfig>
