import { rmSync, writeFileSync } from 'node:fs'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import { z } from 'zod'
import type { CallOptions } from '../block/block-source.ts'
import { type GuestFreezer, thawGuest } from '../platforms/kvm/guest-freeze.ts'
import type { KvmVm } from '../platforms/kvm/kvm-host.ts'
import { GuestKeeper } from './guest-keeper.ts'

export interface GuestKeepersOptions {
  /** Holds one file for each guest that may be frozen, for who comes after a crash. */
  readonly marksDir: string
  readonly logger: Logger
}

/**
 * Freezes guests by a process for each freeze, which thaws by itself when time is up or this process dies. Where that
 * process dies, this one thaws. Where both die at once, `thawMarked` does after the restart.
 */
export class GuestKeepers implements AsyncDisposable {
  readonly #options: GuestKeepersOptions
  readonly #keepers = new Map<string, GuestKeeper>()

  constructor(options: GuestKeepersOptions) {
    this.#options = options
  }

  /** Makes the directory of marks, and thaws what a process that was killed may have left frozen. */
  async thawMarked(findRunning: (vmId: string) => Promise<KvmVm | undefined>): Promise<void> {
    const { marksDir, logger } = this.#options
    await mkdir(marksDir, { recursive: true, mode: 0o700 })
    const thawing = (await readdir(marksDir)).map(async (vmId) => {
      try {
        const vm = z.uuid().safeParse(vmId).success ? await findRunning(vmId) : undefined
        const fileSystems = vm === undefined ? 0 : await thawGuest(vm.guestAgentSocket)
        logger.warn({ vmId, fileSystems }, 'a guest may have been left frozen: it was thawed')
        await rm(join(marksDir, vmId), { force: true })
      } catch (error) {
        logger.error({ vmId, err: error }, 'a guest may have been left frozen and cannot be thawed')
      }
    })
    await Promise.all(thawing)
  }

  freezerOf(vm: KvmVm): GuestFreezer {
    return {
      freeze: async (options) => await this.#freeze(vm, options),
      thaw: async (attemptsMax) => {
        const keeper = this.#keepers.get(vm.config.vmId)
        if (keeper !== undefined) return await keeper.thaw()
        return await thawGuest(vm.guestAgentSocket, attemptsMax)
      },
    }
  }

  /** Process ids of the keepers that run now. */
  pids(): number[] {
    return [...this.#keepers.values()].flatMap(({ pid }) => (pid === undefined ? [] : [pid]))
  }

  /** Thaws all guests. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled([...this.#keepers.values()].map(async (keeper) => await keeper.thaw()))
  }

  /**
   * A freeze from before ends first: who asked for it has lost its connection, and learns of it where it has not. An
   * aborted caller leaves no guest frozen: a freeze that is under way is undone as soon as it is done.
   */
  async #freeze(vm: KvmVm, { signal, maxMs }: CallOptions & { readonly maxMs: number }): Promise<boolean> {
    signal.throwIfAborted()
    const { vmId } = vm.config
    const mark = join(this.#options.marksDir, vmId)
    for (let before = this.#keepers.get(vmId); before !== undefined; before = this.#keepers.get(vmId)) {
      await before.thaw()
    }
    signal.throwIfAborted()
    // At once, so that nobody comes in between.
    writeFileSync(mark, '', { mode: 0o600 })
    const keeper = new GuestKeeper(vm.guestAgentSocket, { maxMs })
    this.#keepers.set(vmId, keeper)
    keeper.over
      .then(() => rmSync(mark, { force: true }))
      .finally(() => this.#keepers.delete(vmId))
      .catch((error: unknown) => this.#options.logger.error({ vmId, err: error }, 'a guest cannot be thawed'))
    try {
      return await untilAborted(keeper.frozen, signal)
    } catch (error) {
      await keeper.thaw()
      throw error
    }
  }
}
