import { randomUUID } from 'node:crypto'
import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'
import { describe, expect, test } from 'vitest'
import type { BlockExtent, BlockSource, CallOptions } from '../block/block-source.ts'
import type { BackupRequest, SourceBackupSession, SourceConnector, TrackingToken } from './source-connector.ts'

const DEADLINE_MS = 60_000
/** Of tests' writes: whole clusters, so that discards take effect everywhere. */
const UNIT_BYTES = 65_536

/** A running VM, without a guest agent, on the platform under test, and the guest's hand. */
export interface SourceFixture extends AsyncDisposable {
  /** The connector under test; after `crash` a new one. */
  readonly connector: SourceConnector
  readonly platformRef: string
  /** At least two, new, reading as zeros, of at least 4 MiB, with change tracking. */
  readonly disks: readonly { readonly diskId: string; readonly sizeBytes: number }[]
  /** The guest writes `byte` over the extent. */
  fill(diskId: string, extent: Extent, byte: number): Promise<void>
  /** The guest writes zeros without sending them. */
  zero(diskId: string, extent: Extent): Promise<void>
  /** The guest trims; the extent is of whole 64 KiB units and reads as zeros afterwards. */
  discard(diskId: string, extent: Extent): Promise<void>
  /** Names of all checkpoints of a disk, ours and foreign. */
  checkpoints(diskId: string): Promise<readonly string[]>
  addForeignCheckpoint(diskId: string, name: string): Promise<void>
  /** The agent dies: the connector is dropped without disposing anything. */
  crash(): Promise<void>
}

/** The contract of SourceConnector as tests. */
export function describeSourceConnector(driver: string, open: () => Promise<SourceFixture>): void {
  describe(`SourceConnector conformance: ${driver}`, () => {
    describeInventory(open)
    describeIncrements(open)
    describeEnds(open)
    describeCrashes(open)
    describeReasons(open)
  })
}

function describeInventory(open: () => Promise<SourceFixture>): void {
  test('lists the VM as it describes it', async () => {
    await using fixture = await open()
    const vm = await fixture.connector.getVm(fixture.platformRef, call())
    expect(vm.powerState).not.toBe('stopped')
    expect(vm.disks).toEqual(fixture.disks.map((disk) => ({ ...disk, changeTracking: true })))
    const listed = await Array.fromAsync(fixture.connector.listVms(call()))
    expect(listed).toContainEqual(vm)
  })

  test('an unknown VM is source.vm_not_found, and nothing to reconcile', async () => {
    await using fixture = await open()
    const platformRef = randomUUID()
    const unknown = expect.objectContaining({ code: 'source.vm_not_found' })
    await expect(fixture.connector.getVm(platformRef, call())).rejects.toEqual(unknown)
    await expect(fixture.connector.openBackup(request({ platformRef }), call())).rejects.toEqual(unknown)
    await expect(fixture.connector.clearSessions(platformRef, call())).resolves.toBeUndefined()
    await expect(fixture.connector.reconcile(platformRef, [], call())).resolves.toBeUndefined()
  })
}

function describeIncrements(open: () => Promise<SourceFixture>): void {
  test('a full and three increments: content of the instant, and no change that is not dirty', async () => {
    await using fixture = await open()
    const guest = new Guest(fixture)
    await guest.work(1)
    let base = await guest.backUp('FULL_FIRST', new Map())
    for (const round of [2, 3, 4]) {
      await guest.work(round)
      base = await guest.backUp('INCREMENTAL', base)
      expect(base.size).toBe(fixture.disks.length)
    }
  })

  test('a range that was zeroed or trimmed is dirty', async () => {
    await using fixture = await open()
    const guest = new Guest(fixture)
    await guest.write(unit(0, 8), 0x11)
    const base = await guest.backUp('FULL_FIRST', new Map())
    await guest.zero(unit(1, 1))
    await guest.discard(unit(4, 2))
    expect((await guest.backUp('INCREMENTAL', base)).size).toBe(fixture.disks.length)
  })

  test('nothing written since the base: nothing is dirty', async () => {
    await using fixture = await open()
    const guest = new Guest(fixture)
    await guest.write(unit(0, 4), 0x22)
    const base = await guest.backUp('FULL_FIRST', new Map())
    await using session = await fixture.connector.openBackup(request({ ...fixture, base }), call())
    for (const disk of session.disks) {
      expect((await extentsOf(disk.source)).filter(({ dirty }) => dirty)).toEqual([])
    }
  })

  test('what the guest writes while a session is open is not seen there, and is dirty in the next', async () => {
    await using fixture = await open()
    const guest = new Guest(fixture)
    await guest.write(unit(0, 8), 0x31)
    const base = await guest.backUp('FULL_FIRST', new Map(), async () => {
      await guest.write(unit(2, 2), 0x32)
      await guest.zero(unit(5, 1))
      // A trim may do nothing while a session is open: what it left is written over, so that it is known.
      await guest.discard(unit(6, 1))
      await guest.write(unit(6, 1), 0x36)
      await guest.write(unit(20, 1), 0x33)
    })
    await guest.write(unit(30, 1), 0x34)
    const next = await guest.backUp('INCREMENTAL', base, async () => await guest.write(unit(30, 2), 0x35))
    expect((await guest.backUp('INCREMENTAL', next)).size).toBe(fixture.disks.length)
  })
}

function describeEnds(open: () => Promise<SourceFixture>): void {
  test('a session disposed without commit leaves the base as it was', async () => {
    await using fixture = await open()
    const guest = new Guest(fixture)
    await guest.write(unit(0, 4), 0x41)
    const base = await guest.backUp('FULL_FIRST', new Map())
    await guest.write(unit(1, 1), 0x42)
    const before = await fixture.checkpoints(guest.firstDisk)
    await using session = await fixture.connector.openBackup(request({ ...fixture, base }), call())
    await guest.write(unit(3, 1), 0x43)
    await session[Symbol.asyncDispose]()
    await session[Symbol.asyncDispose]()
    expect(await fixture.checkpoints(guest.firstDisk)).toEqual(before)
    expect((await guest.backUp('INCREMENTAL', base)).size).toBe(fixture.disks.length)
  })

  test('commit is idempotent and leaves one checkpoint of ours', async () => {
    await using fixture = await open()
    const guest = new Guest(fixture)
    const base = await guest.backUp('FULL_FIRST', new Map())
    await guest.write(unit(1, 1), 0x44)
    await using session = await fixture.connector.openBackup(request({ ...fixture, base }), call())
    await session.commit(call())
    await session.commit(call())
    await session[Symbol.asyncDispose]()
    const tokens = tokensOf(session)
    expect(await fixture.checkpoints(guest.firstDisk)).toEqual([tokens.get(guest.firstDisk)?.checkpoint])
    guest.remember()
    await guest.write(unit(2, 1), 0x45)
    expect((await guest.backUp('INCREMENTAL', tokens)).size).toBe(fixture.disks.length)
  })

  test('one session at a time: the second is source.busy and harms nothing', async () => {
    await using fixture = await open()
    const guest = new Guest(fixture)
    await guest.write(unit(0, 2), 0x46)
    const busy = expect.objectContaining({ code: 'source.busy' })
    const base = await guest.backUp('FULL_FIRST', new Map(), async () => {
      await expect(fixture.connector.openBackup(request(fixture), call())).rejects.toEqual(busy)
      await expect(fixture.connector.clearSessions(fixture.platformRef, call())).rejects.toEqual(busy)
      await expect(fixture.connector.reconcile(fixture.platformRef, [], call())).rejects.toEqual(busy)
    })
    expect((await guest.backUp('INCREMENTAL', base)).size).toBe(fixture.disks.length)
  })

  test('foreign checkpoints outlive sessions, commits and clean-ups', async () => {
    await using fixture = await open()
    const guest = new Guest(fixture)
    await fixture.addForeignCheckpoint(guest.firstDisk, 'somebody-elses')
    const base = await guest.backUp('FULL_FIRST', new Map())
    await guest.backUp('INCREMENTAL', base)
    await fixture.connector.reconcile(fixture.platformRef, [], call())
    expect(await fixture.checkpoints(guest.firstDisk)).toEqual(['somebody-elses'])
  })

  test('an aborted signal rejects with its reason and leaves nothing behind', async () => {
    await using fixture = await open()
    const guest = new Guest(fixture)
    const stop = AbortSignal.abort(new Error('stop'))
    await expect(fixture.connector.openBackup(request(fixture), { signal: stop })).rejects.toThrow('stop')
    expect(await fixture.checkpoints(guest.firstDisk)).toEqual([])
    expect((await guest.backUp('FULL_FIRST', new Map())).size).toBe(fixture.disks.length)
  })
}

function describeCrashes(open: () => Promise<SourceFixture>): void {
  test('the agent dies with a session open: reconcile cleans up and the base is still right', async () => {
    await using fixture = await open()
    const guest = new Guest(fixture)
    await guest.write(unit(0, 4), 0x51)
    const base = await guest.backUp('FULL_FIRST', new Map())
    await guest.write(unit(1, 1), 0x52)
    await fixture.connector.openBackup(request({ ...fixture, base }), call())
    await guest.write(unit(2, 1), 0x53)
    await fixture.crash()
    const again = request({ ...fixture, base })
    await expect(fixture.connector.openBackup(again, call())).rejects.toMatchObject({ code: 'source.busy' })
    for (const _ of [1, 2]) await fixture.connector.reconcile(fixture.platformRef, [...base.values()], call())
    expect(await fixture.checkpoints(guest.firstDisk)).toEqual([base.get(guest.firstDisk)?.checkpoint])
    await guest.write(unit(3, 1), 0x54)
    expect((await guest.backUp('INCREMENTAL', base)).size).toBe(fixture.disks.length)
  })

  test('the agent dies between seal and commit: the new checkpoint is the base', async () => {
    await using fixture = await open()
    const guest = new Guest(fixture)
    const base = await guest.backUp('FULL_FIRST', new Map())
    await guest.write(unit(1, 1), 0x55)
    const session = await fixture.connector.openBackup(request({ ...fixture, base }), call())
    guest.remember()
    const sealed = tokensOf(session)
    await guest.write(unit(2, 1), 0x56)
    await fixture.crash()
    await fixture.connector.clearSessions(fixture.platformRef, call())
    await fixture.connector.reconcile(fixture.platformRef, [...sealed.values()], call())
    expect(await fixture.checkpoints(guest.firstDisk)).toEqual([sealed.get(guest.firstDisk)?.checkpoint])
    expect((await guest.backUp('INCREMENTAL', sealed)).size).toBe(fixture.disks.length)
  })

  test('the agent dies: clearing its session keeps the old checkpoint and the new one, and the base serves', async () => {
    await using fixture = await open()
    const guest = new Guest(fixture)
    const base = await guest.backUp('FULL_FIRST', new Map())
    const begun = tokensOf(await fixture.connector.openBackup(request({ ...fixture, base }), call()))
    await fixture.crash()
    await fixture.connector.clearSessions(fixture.platformRef, call())
    const kept = [base, begun].map((tokens) => tokens.get(guest.firstDisk)?.checkpoint)
    expect(await fixture.checkpoints(guest.firstDisk)).toEqual(expect.arrayContaining(kept))
    expect((await guest.backUp('INCREMENTAL', base)).size).toBe(fixture.disks.length)
  })

  test('the agent dies in the first backup: the next is a first one again', async () => {
    await using fixture = await open()
    const guest = new Guest(fixture)
    await guest.write(unit(0, 2), 0x57)
    await fixture.connector.openBackup(request(fixture), call())
    await fixture.crash()
    await fixture.connector.reconcile(fixture.platformRef, [], call())
    expect(await fixture.checkpoints(guest.firstDisk)).toEqual([])
    expect((await guest.backUp('FULL_FIRST', new Map())).size).toBe(fixture.disks.length)
  })
}

function describeReasons(open: () => Promise<SourceFixture>): void {
  test('a full one that was asked for is full, and the base serves on when it fails', async () => {
    await using fixture = await open()
    const guest = new Guest(fixture)
    await guest.write(unit(0, 2), 0x61)
    const base = await guest.backUp('FULL_FIRST', new Map())
    await guest.write(unit(1, 1), 0x62)
    {
      await using session = await fixture.connector.openBackup(request({ ...fixture, base, full: true }), call())
      expect(session.disks.map(({ reason }) => reason)).toEqual(fixture.disks.map(() => 'FULL_REQUESTED'))
    }
    expect((await guest.backUp('INCREMENTAL', base)).size).toBe(fixture.disks.length)
  })

  test('a checkpoint that is gone, coarser, doubted or of another size is not used', async () => {
    await using fixture = await open()
    const guest = new Guest(fixture)
    await guest.write(unit(0, 2), 0x63)
    const base = await guest.backUp('FULL_FIRST', new Map())
    const token = base.get(guest.firstDisk)
    expect(token).toBeDefined()
    const changes = [
      [{ checkpoint: 'sendense-0' }, 'COMPARE_TRACKING_LOST'],
      [{ checkpoint: '' }, 'COMPARE_TRACKING_LOST'],
      [{ granularityBytes: 2 * (token?.granularityBytes ?? 0) }, 'COMPARE_TRACKING_LOST'],
      [{ sizeBytes: (token?.sizeBytes ?? 0) + UNIT_BYTES }, 'FULL_RESIZED'],
    ] as const
    for (const [change, reason] of changes) {
      const doubtful = new Map([...base].map(([diskId, known]) => [diskId, { ...known, ...change }]))
      await using session = await fixture.connector.openBackup(request({ ...fixture, base: doubtful }), call())
      expect(session.disks.map((disk) => disk.reason)).toEqual(fixture.disks.map(() => reason))
      for (const { source } of session.disks) expect((await extentsOf(source)).every(({ dirty }) => dirty)).toBe(true)
    }
    expect((await guest.backUp('INCREMENTAL', base)).size).toBe(fixture.disks.length)
  })
}

/** A guest whose disks are known: every operation goes to the platform and to a model beside it. */
class Guest {
  readonly #fixture: SourceFixture
  readonly #now: Map<string, Uint8Array>
  #atBase: Map<string, Uint8Array>

  constructor(fixture: SourceFixture) {
    this.#fixture = fixture
    this.#now = new Map(fixture.disks.map(({ diskId, sizeBytes }) => [diskId, new Uint8Array(sizeBytes)]))
    this.#atBase = copyOf(this.#now)
  }

  get firstDisk(): string {
    return this.#fixture.disks[0]?.diskId ?? ''
  }

  /** On every disk alike. */
  async write(extent: Extent, byte: number): Promise<void> {
    for (const [diskId, bytes] of this.#now) {
      await this.#fixture.fill(diskId, extent, byte)
      bytes.fill(byte, extent.offsetBytes, endOf(extent))
    }
  }

  async zero(extent: Extent): Promise<void> {
    for (const [diskId, bytes] of this.#now) {
      await this.#fixture.zero(diskId, extent)
      bytes.fill(0, extent.offsetBytes, endOf(extent))
    }
  }

  async discard(extent: Extent): Promise<void> {
    for (const [diskId, bytes] of this.#now) {
      await this.#fixture.discard(diskId, extent)
      bytes.fill(0, extent.offsetBytes, endOf(extent))
    }
  }

  /** Some of everything, also across and inside units; another pattern each round. */
  async work(round: number): Promise<void> {
    await this.write(unit(round * 3, 2), round)
    await this.write({ offsetBytes: round * 5 * UNIT_BYTES + 512, lengthBytes: 4096 }, 0x80 + round)
    await this.write({ offsetBytes: (round + 30) * UNIT_BYTES - 512, lengthBytes: 1024 }, 0x90 + round)
    await this.zero(unit(round * 3 - 3, 1))
    await this.zero({ offsetBytes: round * 5 * UNIT_BYTES + 1024, lengthBytes: 512 })
    await this.discard(unit(round + 29, 1))
  }

  /** The next backup's base is what is on the disks now. */
  remember(): void {
    this.#atBase = copyOf(this.#now)
  }

  /**
   * Backs up and commits; checks the content of the instant, after `meanwhile` too, and that each byte that differs
   * from the base is dirty. Returns the next base.
   */
  async backUp(
    reason: string,
    base: ReadonlyMap<string, TrackingToken>,
    meanwhile?: () => Promise<void>,
  ): Promise<ReadonlyMap<string, TrackingToken>> {
    const wanted = request({ ...this.#fixture, base })
    await using session = await this.#fixture.connector.openBackup(wanted, call())
    const instant = copyOf(this.#now)
    expectOpened(session, this.#fixture, reason)
    await meanwhile?.()
    for (const { diskId, sizeBytes, source } of session.disks) {
      const content = new Uint8Array(sizeBytes)
      await source.read(0, content, call())
      expectSame(content, instant.get(diskId))
      expectCovered(await extentsOf(source), content, this.#atBase.get(diskId))
    }
    await session.commit(call())
    this.#atBase = instant
    return tokensOf(session)
  }
}

function expectOpened(session: SourceBackupSession, { disks }: SourceFixture, reason: string): void {
  expect(session.consistency).toBe('crash')
  expect(session.lost.aborted).toBe(false)
  expect(session.disks.map((disk) => [disk.diskId, disk.reason])).toEqual(disks.map(({ diskId }) => [diskId, reason]))
}

function request(wanted: Partial<BackupRequest> & { readonly platformRef: string }): BackupRequest {
  const { platformRef, base = new Map(), full = false, quiesce = true } = wanted
  return { platformRef, sessionId: randomUUID(), quiesce, base, full }
}

function tokensOf(session: SourceBackupSession): ReadonlyMap<string, TrackingToken> {
  return new Map(session.disks.flatMap(({ token }) => (token === undefined ? [] : [[token.diskId, token]])))
}

async function extentsOf(source: BlockSource): Promise<BlockExtent[]> {
  return await Array.fromAsync(source.extents({ offsetBytes: 0, lengthBytes: source.sizeBytes }, call()))
}

/** Extents cover the disk without gaps, zero ones read as zeros, and no byte that differs from the base is clean. */
function expectCovered(extents: readonly BlockExtent[], content: Uint8Array, base: Uint8Array | undefined): void {
  let position = 0
  for (const extent of extents) {
    expect(extent.offsetBytes).toBe(position)
    position = endOf(extent)
    const bytes = content.subarray(extent.offsetBytes, position)
    if (extent.zero) expect(bytes.every((byte) => byte === 0)).toBe(true)
    if (!extent.dirty) expectSame(bytes, base?.subarray(extent.offsetBytes, position))
  }
  expect(position).toBe(content.length)
}

function expectSame(actual: Uint8Array, expected: Uint8Array | undefined): void {
  expect(Buffer.compare(actual, expected ?? new Uint8Array())).toBe(0)
}

function unit(first: number, count: number): Extent {
  return { offsetBytes: first * UNIT_BYTES, lengthBytes: count * UNIT_BYTES }
}

function copyOf(disks: ReadonlyMap<string, Uint8Array>): Map<string, Uint8Array> {
  return new Map([...disks].map(([diskId, bytes]) => [diskId, bytes.slice()]))
}

function call(): CallOptions {
  return { signal: AbortSignal.timeout(DEADLINE_MS) }
}
