import { z } from 'zod'

/** PEM of certificates or a key; never logged. */
const Pem = z.string().includes('-----BEGIN ').max(262_144)
/** Text as NBD has it: UTF-8 of at most 4096 bytes, without NUL. */
const NbdString = z
  .string()
  .refine((text) => Buffer.byteLength(text) <= 4096 && !text.includes('\0') && text.isWellFormed(), {
    error: 'must be at most 4096 bytes of UTF-8 without NUL',
  })

/**
 * Connections to the export are encrypted, and the server must prove who it is: there is no way to turn that off.
 */
export const NbdTls = z.strictObject({
  /** Who may have signed the server's certificate. */
  caPem: Pem,
  /** Name or IP address that the server's certificate must have. Absent: the host; `localhost` over a unix socket. */
  serverName: z.string().min(1).max(253).optional(),
  /** Proves to the server who we are. */
  client: z.strictObject({ certificatePem: Pem, keyPem: Pem }).optional(),
})
export type NbdTls = z.infer<typeof NbdTls>

export const NbdAddress = z.discriminatedUnion('transport', [
  z.strictObject({
    transport: z.literal('unix'),
    path: z
      .string()
      .refine((path) => path !== '' && Buffer.byteLength(path) <= 107, { error: 'must be 1 to 107 bytes' }),
  }),
  z.strictObject({ transport: z.literal('tcp'), host: z.string().min(1), port: z.int().min(1).max(65_535) }),
])
export type NbdAddress = z.infer<typeof NbdAddress>

/** An NBD export that any thread or process of this machine can open. */
export const NbdEndpoint = z.strictObject({
  kind: z.literal('nbd'),
  address: NbdAddress,
  exportName: NbdString,
  /** Meta context whose set bits mean dirty, as `qemu:dirty-bitmap:NAME`. Absent: everything is dirty. */
  dirtyContext: NbdString.optional(),
  /** Absent: not encrypted; a server that insists is `nbd.access_denied`. */
  tls: NbdTls.optional(),
  /**
   * Requests sent on one connection before its first reply. Absent: 16, as many as QEMU's server works on at once; more
   * only wait there. nbdkit works on as many as its `--threads` says.
   */
  requestsInFlightMax: z.int().min(1).max(256).optional(),
})
export type NbdEndpoint = z.infer<typeof NbdEndpoint>

/** Serialisable address of a BlockSource or BlockSink: what crosses to a worker thread. */
export const BlockEndpoint = z.discriminatedUnion('kind', [NbdEndpoint])
export type BlockEndpoint = z.infer<typeof BlockEndpoint>
