import { z } from 'zod'
import type { BlockSink } from './block-sink.ts'
import type { BlockSource, CallOptions } from './block-source.ts'

/**
 * Opens disks of one kind in whatever thread is told to. A module that is registered as one exports it as `blockOpener`.
 * Both reject with `input.invalid` for an address that is not theirs.
 */
export interface BlockOpener {
  openSource(address: unknown, options: CallOptions): Promise<BlockSource>
  openSink(address: unknown, options: CallOptions): Promise<BlockSink>
}

/** URLs of modules, by the name that `OpenerEndpoint.opener` says. */
export const BlockOpenerUrls = z.record(z.string(), z.url({ protocol: /^file$/ }))
export type BlockOpenerUrls = z.infer<typeof BlockOpenerUrls>

const OpenerModule = z.object({
  blockOpener: z.object({
    openSource: z.custom<BlockOpener['openSource']>((value) => typeof value === 'function'),
    openSink: z.custom<BlockOpener['openSink']>((value) => typeof value === 'function'),
  }),
})

/** Imports the module of an opener, into this thread. Rejects where it is none: that is a mistake in the program. */
export async function importBlockOpener(url: string): Promise<BlockOpener> {
  const imported: unknown = await import(url)
  return OpenerModule.parse(imported).blockOpener
}
