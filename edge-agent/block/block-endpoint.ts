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

/** How long a lost connection is dialled again, with full jitter, before everything that waits is rejected. */
export const NbdReconnect = z.strictObject({
  forMs: z.int().min(0).max(86_400_000),
  /** 0: a lost connection is never dialled again. */
  attemptsMax: z.int().min(0).max(10_000),
})
export type NbdReconnect = z.infer<typeof NbdReconnect>

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
   * Connections opened at most, each only when those before have all they can work on. Absent: up to 4, by the size of
   * the disk, where the server says that several are safe. A sink keeps to one where the server does not say so.
   */
  connections: z.int().min(1).max(16).optional(),
  /**
   * Requests sent on one connection before its first reply. Absent: 16, as many as QEMU's server works on at once; more
   * only wait there. nbdkit works on as many as its `--threads` says.
   */
  requestsInFlightMax: z.int().min(1).max(256).optional(),
  /**
   * Absent: over TCP 2 minutes and 30 attempts; over a unix socket none, since the death of a local server must be seen
   * at once. Given: the first connection is dialled again likewise, since what leads to the server may be cut just then.
   */
  reconnect: NbdReconnect.optional(),
})
export type NbdEndpoint = z.infer<typeof NbdEndpoint>

/** A disk of a kind that only an opener knows (block-opener.ts). */
export const OpenerEndpoint = z.strictObject({
  kind: z.literal('opener'),
  /** The name under which the opener was registered where the disk is to be opened. */
  opener: z.string().min(1).max(64),
  /** What it needs, which may be secret: never logged. It parses it by itself. */
  address: z.unknown(),
})
export type OpenerEndpoint = z.infer<typeof OpenerEndpoint>

/** Address of a BlockSource or BlockSink that can be cloned: what crosses to a worker thread. */
export const BlockEndpoint = z.discriminatedUnion('kind', [NbdEndpoint, OpenerEndpoint])
export type BlockEndpoint = z.infer<typeof BlockEndpoint>
