import type { BlockEndpoint } from '../../block/block-endpoint.ts'
import type { BlockSink } from '../../block/block-sink.ts'
import type { BlockSource, CallOptions } from '../../block/block-source.ts'
import type { BlockOpeners } from './block-openers.ts'
import type { ErrorRoles } from './error-roles.ts'

/** A cancelled copy whose disks do not let go of it in this time has them closed under it: a server of them hangs. */
const LET_GO_TIMEOUT_MS = 5000

export interface TaskDisksOptions extends CallOptions {
  readonly roles: ErrorRoles
  readonly openers: BlockOpeners
}

/** The disks that one copy has opened, and whose errors are whose. */
export class TaskDisks implements AsyncDisposable {
  readonly #roles: ErrorRoles
  readonly #openers: BlockOpeners
  readonly #signal: AbortSignal
  readonly #opened = new AsyncDisposableStack()
  readonly #onAbort: () => void
  #closing: Promise<void> | undefined
  #stuck: NodeJS.Timeout | undefined

  constructor({ roles, openers, signal }: TaskDisksOptions) {
    this.#roles = roles
    this.#openers = openers
    this.#signal = signal
    this.#onAbort = () => {
      this.#stuck = setTimeout(() => void this.#close(), LET_GO_TIMEOUT_MS)
    }
    signal.addEventListener('abort', this.#onAbort, { once: true })
  }

  /** Rejects as openNbdSource, or as the opener of its kind. */
  async openSource(role: 'source' | 'base', endpoint: BlockEndpoint): Promise<BlockSource> {
    const options = { signal: this.#signal }
    const source = await this.#roles.note(role, async () => await this.#openers.openSource(endpoint, options))
    return this.#opened.use(this.#roles.ofSource(role, source))
  }

  /** Rejects as openNbdSink, or as the opener of its kind. */
  async openSink(endpoint: BlockEndpoint): Promise<BlockSink> {
    const options = { signal: this.#signal }
    const sink = await this.#roles.note('sink', async () => await this.#openers.openSink(endpoint, options))
    return this.#opened.use(this.#roles.ofSink('sink', sink))
  }

  /** Nothing uses memory of the copy any more when it resolves. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#stuck)
    this.#signal.removeEventListener('abort', this.#onAbort)
    await this.#close()
  }

  async #close(): Promise<void> {
    this.#closing ??= this.#opened.disposeAsync()
    await this.#closing
  }
}
