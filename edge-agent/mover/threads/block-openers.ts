import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { BlockEndpoint } from '../../block/block-endpoint.ts'
import { type BlockOpener, type BlockOpenerUrls, importBlockOpener } from '../../block/block-opener.ts'
import type { BlockSink } from '../../block/block-sink.ts'
import type { BlockSource, CallOptions } from '../../block/block-source.ts'
import { openNbdSink } from '../../nbd/client/nbd-sink.ts'
import { openNbdSource } from '../../nbd/client/nbd-source.ts'

/** Opens disks of every kind in this thread: NBD exports by itself, others with what was registered for them. */
export class BlockOpeners {
  readonly #urls: BlockOpenerUrls
  readonly #imported = new Map<string, Promise<BlockOpener>>()

  constructor(urls: BlockOpenerUrls = {}) {
    this.#urls = urls
  }

  /** Rejects as openNbdSource, or as the opener. */
  async openSource(endpoint: BlockEndpoint, options: CallOptions): Promise<BlockSource> {
    if (endpoint.kind === 'nbd') return await openNbdSource(endpoint, options)
    return await (await this.#get(endpoint.opener)).openSource(endpoint.address, options)
  }

  /** Rejects as openNbdSink, or as the opener. */
  async openSink(endpoint: BlockEndpoint, options: CallOptions): Promise<BlockSink> {
    if (endpoint.kind === 'nbd') return await openNbdSink(endpoint, options)
    return await (await this.#get(endpoint.opener)).openSink(endpoint.address, options)
  }

  async #get(name: string): Promise<BlockOpener> {
    const url = this.#urls[name]
    if (url === undefined) throw new PlatformError('input.invalid', `nothing here opens disks of kind ${name}`)
    const known = this.#imported.get(name)
    if (known !== undefined) return await known
    const importing = importBlockOpener(url)
    this.#imported.set(name, importing)
    return await importing
  }
}
