import { setTimeout as delay } from 'node:timers/promises'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import { z } from 'zod'
import type { CallOptions } from '../../block/block-source.ts'
import type { QmpConnection } from '../../qemu/qmp-connection.ts'
import { queryExports, queryJobs, queryNodes } from './block-queries.ts'
import { isOurs } from './session-names.ts'
import type { LocatedVm } from './vm-host.ts'

const GONE_TIMEOUT_MS = 30_000
const POLL_MS = 10

/**
 * Takes all that sessions of ours made out of a running QEMU, and the bitmaps that are `doomed`; idempotent. In this
 * order: nobody may read an overlay whose backup job has ended, for it shows the disk as it is then.
 * Rejects with `source.snapshot_failed` when QEMU keeps something.
 */
export async function clearRemains(
  qmp: QmpConnection,
  vm: LocatedVm,
  options: CallOptions & { readonly doomed: (diskId: string, bitmap: string) => boolean },
): Promise<void> {
  const { signal } = options
  const run = async (command: string, args: object) =>
    await qmp.execute(command, args, z.unknown(), { signal, repeatable: true })

  await untilGone({
    find: async () => (await queryExports(qmp, options)).filter(isOurs),
    remove: async (id) => await run('block-export-del', { id, mode: 'hard' }),
    signal,
  })
  if ((await queryExports(qmp, options)).length === 0) await run('nbd-server-stop', {}).catch(ignoreRefusal)
  await untilGone({
    find: async () => (await queryJobs(qmp, options)).filter(isOurs),
    remove: async (device) => await run('block-job-cancel', { device, force: true }),
    signal,
  })
  await untilGone({
    find: async () => (await queryNodes(qmp, options)).map(({ nodeName }) => nodeName).filter(isOurs),
    remove: async (node) => await run('blockdev-del', { 'node-name': node }),
    signal,
  })
  await removeBitmaps(qmp, vm, options)
  await vm.host.removeScratch(vm.config.vmId, { signal })
}

/** Removes the bitmaps of the VM's disks that are `doomed`, inconsistent ones too. Rejects with `qemu.command_failed` when QEMU keeps one. */
export async function removeBitmaps(
  qmp: QmpConnection,
  vm: LocatedVm,
  { signal, doomed }: CallOptions & { readonly doomed: (diskId: string, bitmap: string) => boolean },
): Promise<void> {
  const disks = new Set(vm.config.disks.map(({ diskId }) => diskId))
  const find = async () =>
    (await queryNodes(qmp, { signal })).flatMap(({ nodeName: node, bitmaps }) =>
      disks.has(node) ? bitmaps.filter(({ name }) => doomed(node, name)).map(({ name }) => ({ node, name })) : [],
    )
  let refusal: unknown
  for (const bitmap of await find()) {
    const options = { signal, repeatable: true }
    await qmp.execute('block-dirty-bitmap-remove', bitmap, z.unknown(), options).catch((error: unknown) => {
      ignoreRefusal(error)
      refusal ??= error
    })
  }
  // One that was removed by a command whose answer was lost is refused the second time.
  if (refusal !== undefined && (await find()).length > 0) throw refusal
}

async function untilGone(work: {
  readonly find: () => Promise<string[]>
  readonly remove: (name: string) => Promise<unknown>
  readonly signal: AbortSignal
}): Promise<void> {
  const deadline = Date.now() + GONE_TIMEOUT_MS
  for (let names = await work.find(); names.length > 0; names = await work.find()) {
    if (Date.now() > deadline) {
      throw new PlatformError('source.snapshot_failed', `QEMU does not let go of ${names.join(', ')}`)
    }
    for (const name of names) await work.remove(name).catch(ignoreRefusal)
    await untilAborted(delay(POLL_MS), work.signal)
  }
}

/** QEMU refuses what is gone or going already; whether it is gone is asked, not guessed from its words. */
function ignoreRefusal(error: unknown): void {
  if (!isPlatformError(error, 'qemu.command_failed')) throw error
}
