import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import { describe, expect, test } from 'vitest'
import type { BlockSource } from '../block/block-source.ts'
import { createMemoryDisk } from '../block/memory-disk.ts'
import { ChunkIds } from '../mover/chunk-ids.ts'
import { createMover } from '../mover/create-mover.ts'
import { defaultGuardSettings, type GuestIoCounters } from '../mover/latency-guard.ts'
import type { BackupWriter } from '../repository/repository.ts'
import { copyPlanned } from './copy-planned.ts'
import { GuestSparing } from './guest-sparing.ts'

const MIB = 1024 * 1024
const signal = AbortSignal.timeout(60_000)

/** A guest that does ten operations between two looks, and a clock that passes when the guard sleeps. */
class TestGuest {
  latencyMs = 1
  #counters: GuestIoCounters = { operations: 1000, totalTimeNs: 1e9 }
  readonly #looked: (() => void)[] = []

  readonly guestIo = async (): Promise<GuestIoCounters> => {
    this.#counters = {
      operations: this.#counters.operations + 10,
      totalTimeNs: this.#counters.totalTimeNs + 10 * this.latencyMs * 1e6,
    }
    return this.#counters
  }

  readonly clock = {
    now: () => new Date(0),
    sleep: async (_milliseconds: number, options: { readonly signal: AbortSignal }) => {
      for (const looked of this.#looked.splice(0)) looked()
      await new Promise(setImmediate)
      options.signal.throwIfAborted()
    },
  }

  /** Resolves when the guard has looked so often more. */
  async looks(count: number): Promise<void> {
    for (let look = 0; look <= count; look += 1) await new Promise<void>((resolve) => this.#looked.push(resolve))
  }
}

async function refuseToTell(): Promise<GuestIoCounters> {
  throw new PlatformError('qemu.timeout', 'no answer')
}

describe('sparing the guest', () => {
  test('the copies are slowed down while the guest suffers, and it is told', async () => {
    const guest = new TestGuest()
    await using sparing = await GuestSparing.open(guest, { clock: guest.clock, signal })
    const [throttle] = sparing.throttles
    await sparing.begin({ signal })
    sparing.note(100 * MIB)
    await guest.looks(2)
    expect([sparing.progressNote, sparing.sentence, throttle?.bytesPerSecond]).toEqual(['', undefined, undefined])
    guest.latencyMs = 200
    await guest.looks(2)
    expect(sparing.progressNote).toBe(', slowed down to spare the guest')
    expect(throttle?.bytesPerSecond).toBeLessThanOrEqual(50 * MIB)
    guest.latencyMs = 1
    await guest.looks(40)
    expect([sparing.progressNote, throttle?.bytesPerSecond]).toEqual(['', undefined])
    expect(sparing.sentence).toMatch(
      /^The copy was slowed down once to spare the guest, at the least to .* up to 200 ms on average, where 30 ms is the limit\.$/,
    )
  })

  test('a platform that tells nothing, or fails to, slows nothing down', async () => {
    const { clock } = new TestGuest()
    for (const session of [{}, { guestIo: refuseToTell }]) {
      await using sparing = await GuestSparing.open(session, { clock, signal })
      await sparing.begin({ signal })
      expect([sparing.throttles, sparing.sentence, sparing.progressNote]).toEqual([[], undefined, ''])
    }
    const aborted = { clock, signal: AbortSignal.abort(new Error('enough')) }
    await expect(GuestSparing.open({ guestIo: refuseToTell }, aborted)).rejects.toThrow('enough')
  })

  test('a backup whose guest suffered says so in its log and its progress', async () => {
    const guest = new TestGuest()
    const sizeBytes = 2 * MIB
    await using sparing = await GuestSparing.open(guest, { clock: guest.clock, signal })
    await sparing.begin({ signal })
    guest.latencyMs = 200
    sparing.note(100 * MIB)
    await guest.looks(3)
    const source = createMemoryDisk({ sizeBytes, content: new Uint8Array(sizeBytes).fill(1) })
    const sink = createMemoryDisk({ sizeBytes })
    const chunkIds = new ChunkIds(sizeBytes, 256 * 1024)
    const writer = { disks: new Map([['disk0', { sink, chunkIds }]]) } as unknown as BackupWriter
    const frozen = { diskId: 'disk0', sizeBytes, mode: 'full', reason: 'FULL_FIRST', source } as const
    const [log, sentences]: [string[], string[]] = [[], []]
    const run = {
      log: async (_level: string, _step: string, sentence: string) => void log.push(sentence),
      progress: ({ sentence }: { readonly sentence: string }) => void sentences.push(sentence),
    }
    await using mover = createMover({ threadsMax: 1 })
    const planned = [{ frozen, mode: 'full', reason: 'FULL_FIRST' }] as const
    const owner = { tenantId: 'a', jobId: '1' }
    const idKey = new Uint8Array(32)
    await copyPlanned({ mover, run, vmName: 'shop', planned, writer, idKey, owner, throttles: [], sparing }, { signal })
    expect(sentences.at(-1)).toBe('Copying shop: 2 MiB of 2 MiB, slowed down to spare the guest.')
    expect(log).toEqual([expect.stringMatching(/^The copy was slowed down once to spare the guest/)])
    expect(Buffer.compare(sink.bytes, source.bytes)).toBe(0)
  })

  test('a backup whose guest’s operations hang is ended before the guest is hurt', async () => {
    const { clock } = new TestGuest()
    const sizeBytes = 2 * MIB
    const hanging = [{ name: 'disk0', underWayCount: 1, completedMark: 1 }]
    const guestIo = async (): Promise<GuestIoCounters> => ({ operations: 9, totalTimeNs: 9, queues: hanging })
    const settings = { ...defaultGuardSettings, hangLimitMs: 1 }
    await using sparing = await GuestSparing.open({ guestIo }, { clock, settings, signal })
    const source: BlockSource = {
      sizeBytes,
      async *extents(range) {
        yield { ...range, zero: false, dirty: true }
      },
      // The storage that the guest waits for keeps the copy waiting too.
      read: async (_offsetBytes, _into, call) => await untilAborted(new Promise<never>(() => undefined), call.signal),
      [Symbol.asyncDispose]: async () => undefined,
    }
    const target = { sink: createMemoryDisk({ sizeBytes }), chunkIds: new ChunkIds(sizeBytes, 256 * 1024) }
    const writer = { disks: new Map([['disk0', target]]) } as unknown as BackupWriter
    const frozen = { diskId: 'disk0', sizeBytes, mode: 'full', reason: 'FULL_FIRST', source } as const
    await using mover = createMover({ threadsMax: 1 })
    const planned = [{ frozen, mode: 'full', reason: 'FULL_FIRST' }] as const
    const owner = { tenantId: 'a', jobId: '1' }
    const run = { log: async () => undefined, progress: () => undefined }
    const task = {
      mover,
      run,
      vmName: 'shop',
      planned,
      writer,
      idKey: new Uint8Array(32),
      owner,
      throttles: [],
      sparing,
    }
    await expect(copyPlanned(task, { signal })).rejects.toMatchObject({ code: 'source.guest_stalled' })
  })
})
