import type { PlatformKind } from '@sendense/shared/domain/platform.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { SourceConnector } from '../platforms/source-connector.ts'
import type { TargetConnector } from '../platforms/target-connector.ts'

/** The two sides of one platform. `target` is absent where VMs can be protected but not made. */
export interface Platform {
  readonly kind: PlatformKind
  readonly source: SourceConnector
  readonly target?: TargetConnector
  /** What both sides stand on; disposed after them. */
  readonly ground?: AsyncDisposable
}

/** Every platform this agent works with; new ones join where the registry is made, in main.ts. Owns its connectors. */
export class PlatformRegistry implements AsyncDisposable {
  readonly #platforms: ReadonlyMap<PlatformKind, Platform>

  constructor(platforms: readonly Platform[]) {
    this.#platforms = new Map(platforms.map((platform) => [platform.kind, platform]))
  }

  list(): Platform[] {
    return [...this.#platforms.values()]
  }

  /** Throws `source.unreachable` where this agent is not set up for that platform. */
  source(kind: PlatformKind): SourceConnector {
    return this.#get(kind).source
  }

  /** Throws `source.unreachable`, or `target.create_failed` where no VMs can be made on it. */
  target(kind: PlatformKind): TargetConnector {
    const { target } = this.#get(kind)
    if (target === undefined) throw new PlatformError('target.create_failed', `no VMs can be made on platform ${kind}`)
    return target
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { source, target, ground } of this.#platforms.values()) {
      await target?.[Symbol.asyncDispose]()
      await source[Symbol.asyncDispose]()
      await ground?.[Symbol.asyncDispose]()
    }
  }

  #get(kind: PlatformKind): Platform {
    const platform = this.#platforms.get(kind)
    if (platform === undefined) {
      throw new PlatformError('source.unreachable', `this agent is not set up for platform ${kind}`)
    }
    return platform
  }
}
