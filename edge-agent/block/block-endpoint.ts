import { z } from 'zod'

/** An NBD export that any thread or process of this machine can open. */
export const NbdEndpoint = z.strictObject({
  kind: z.literal('nbd'),
  address: z.discriminatedUnion('transport', [
    z.strictObject({ transport: z.literal('unix'), path: z.string().min(1).max(107) }),
    z.strictObject({ transport: z.literal('tcp'), host: z.string(), port: z.int().min(1).max(65_535) }),
  ]),
  exportName: z.string().max(4096),
  /** Meta context whose set bits mean dirty, as `qemu:dirty-bitmap:NAME`. Absent: everything is dirty. */
  dirtyContext: z.string().max(4096).optional(),
})
export type NbdEndpoint = z.infer<typeof NbdEndpoint>

/** Serialisable address of a BlockSource or BlockSink: what crosses to a worker thread. */
export const BlockEndpoint = z.discriminatedUnion('kind', [NbdEndpoint])
export type BlockEndpoint = z.infer<typeof BlockEndpoint>
