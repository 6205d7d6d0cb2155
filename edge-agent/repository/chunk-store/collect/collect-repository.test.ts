import { describe, expect, test } from 'vitest'
import type { ObjectStore } from '../../../object-store/object-store.ts'
import { condemnedListKey, leaseKey, manifestKey, packKey, packSetKey, prefixes } from '../format/object-keys.ts'
import { protocolTimes } from '../protocol-times.ts'
import { ScriptedScene } from './model/scripted-scene.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const call = { signal: AbortSignal.timeout(60_000) }

/** A restore point with two packs, and two packs that nobody needs. */
async function makeScene() {
  const scene = new ScriptedScene()
  const needed = [await scene.putPack(), await scene.putPack()]
  const garbage = [await scene.putPack(), await scene.putPack()]
  const point = await scene.putPoint(needed)
  scene.pass(DAY_MS)
  const there = async (packs: typeof needed) => await Promise.all(packs.map(async (pack) => scene.has(packKey(pack))))
  return { scene, needed, garbage, point, there }
}

/** As the scene's store, with some calls replaced. */
function changed(scene: ScriptedScene, changes: Partial<ObjectStore>): ObjectStore {
  return { ...scene.store, ...changes }
}

describe('a collection', () => {
  test('condemns what nothing refers to, deletes it a day later, and forgets it when nobody can see it any more', async () => {
    const { scene, needed, garbage, there } = await makeScene()
    const first = await scene.collect()
    expect(first).toMatchObject({ condemned: { packs: 2, bytes: 12 }, deleted: { packs: 0 }, stored: { packs: 4 } })
    scene.pass(23 * HOUR_MS)
    const early = await scene.collect()
    expect(early).toMatchObject({ condemned: { packs: 0 }, deleted: { packs: 0 } })
    expect(early.waiting).toEqual([{ runId: first.runId, packs: 2, why: 'grace' }])
    scene.pass(2 * HOUR_MS)
    expect(await scene.collect()).toMatchObject({ deleted: { packs: 2, bytes: 12 }, waiting: [] })
    expect([await there(needed), await there(garbage)]).toEqual([
      [true, true],
      [false, false],
    ])
    await scene.collect()
    expect(await scene.has(condemnedListKey(first.runId))).toBe(true)
    scene.pass(31 * DAY_MS)
    const later = [await scene.putPack()]
    scene.pass(2 * HOUR_MS)
    await scene.collect()
    await scene.collect()
    expect(await scene.has(condemnedListKey(first.runId))).toBe(false)
    expect(await there([...needed, ...later])).toEqual([true, true, true])
    expect(await scene.keys(prefixes.leases)).toEqual([])
  })

  test('without being told to do it changes nothing, and says what it would do', async () => {
    const { scene } = await makeScene()
    const before = await scene.keys('')
    expect(await scene.collect({}, { isDryRun: true })).toMatchObject({ isDryRun: true, condemned: { packs: 2 } })
    expect(await scene.keys('')).toEqual(before)
  })

  test('spares what a restore point needs by now, and what is young', async () => {
    const { scene, garbage, there } = await makeScene()
    const young = await scene.putPack()
    expect(await scene.collect()).toMatchObject({ condemned: { packs: 2 } })
    await scene.putPoint(garbage.slice(0, 1))
    scene.pass(25 * HOUR_MS)
    expect(await scene.collect()).toMatchObject({ deleted: { packs: 1 }, spared: { packs: 1 } })
    expect(await there([...garbage, young])).toEqual([true, false, true])
  })

  test('condemns no pack of a living writer, however old, and deletes nothing he may use', async () => {
    const scene = new ScriptedScene()
    const old = await scene.putPack()
    scene.pass(DAY_MS)
    const point = scene.newPoint()
    const lease = await scene.takeLease(point)
    const own = await scene.putPack()
    await scene.collect()
    for (let hour = 0; hour < 30 * 8; hour += 1) {
      scene.pass(HOUR_MS / 8)
      await lease.confirm(call)
    }
    const report = await scene.collect()
    expect(report.waiting).toEqual([{ runId: expect.any(String) as string, packs: 1, why: 'session' }])
    expect([await scene.has(packKey(old)), await scene.has(packKey(own))]).toEqual([true, true])
    await lease[Symbol.asyncDispose]()
    expect(await scene.collect()).toMatchObject({ deleted: { packs: 1 }, condemned: { packs: 1 } })
  })

  test('shuts out a writer that is dead before it goes on without him', async () => {
    const { scene, garbage, there } = await makeScene()
    const lease = await scene.takeLease(scene.newPoint())
    await scene.collect()
    scene.pass(25 * HOUR_MS)
    expect(await scene.collect()).toMatchObject({ fenced: [lease.writerId], deleted: { packs: 0 } })
    await expect(lease.confirm(call)).rejects.toMatchObject({ code: 'repository.lease_lost' })
    scene.pass(3 * HOUR_MS)
    expect(await scene.collect()).toMatchObject({ fenced: [], deleted: { packs: 2 } })
    expect(await there(garbage)).toEqual([false, false])
  })

  test('keeps what the store protects, and takes it up again when it may', async () => {
    const { scene, garbage, there } = await makeScene()
    const retention = { mode: 'compliance', retainUntil: new Date(scene.nowMs + 10 * DAY_MS) } as const
    const [locked] = garbage
    if (locked === undefined) throw new Error('there is one')
    await scene.store.immutability?.put(packKey(locked), Buffer.from('chunks'), { ...call, retention })
    await scene.collect()
    scene.pass(2 * DAY_MS)
    await scene.collect()
    scene.pass(2 * DAY_MS)
    const report = await scene.collect()
    expect(report).toMatchObject({ locked: { packs: 1 } })
    expect(report.stopped).toBeUndefined()
    expect(await there(garbage)).toEqual([true, false])
    scene.pass(10 * DAY_MS)
    expect(await scene.collect()).toMatchObject({ deleted: { packs: 1 } })
  })

  test('deletes as much as it may, and the next one goes on', async () => {
    const { scene } = await makeScene()
    await scene.collect()
    scene.pass(25 * HOUR_MS)
    expect(await scene.collect({}, { deletesMax: 1 })).toMatchObject({ deleted: { packs: 1 }, left: { packs: 1 } })
    expect(await scene.collect({}, { deletesMax: 1 })).toMatchObject({ deleted: { packs: 1 }, left: { packs: 0 } })
  })

  test('that is told to stop rejects with the reason, and tells how far it is', async () => {
    const { scene } = await makeScene()
    await scene.collect()
    scene.pass(25 * HOUR_MS)
    const stop = new AbortController()
    const steps: string[] = []
    const stopped = scene.collect(
      {},
      {
        signal: stop.signal,
        onProgress: ({ step, done, total }) => {
          steps.push(`${step} ${done} of ${total}`)
          if (step === 'deleting') stop.abort(new Error('enough'))
        },
      },
    )
    await expect(stopped).rejects.toThrow('enough')
    expect(steps[0]).toBe('marking 1 of 1')
    expect((await scene.collect()).stopped).toBeUndefined()
  })

  test('clears pack sets without a restore point, a day after a run has seen the like', async () => {
    const { scene } = await makeScene()
    const point = scene.newPoint()
    await scene.putSet(point, [])
    scene.pass(1000)
    await scene.collect()
    scene.pass(25 * HOUR_MS)
    expect(await scene.collect()).toMatchObject({ orphanedSets: 1 })
    expect(await scene.has(packSetKey({ ...point, revision: 0 }))).toBe(false)
  })
})

describe('a collection deletes nothing', () => {
  const damages: readonly (readonly [string, (scene: Awaited<ReturnType<typeof makeScene>>) => Promise<void>])[] = [
    [
      'while a restore point has no pack set',
      async ({ scene, point }) => await scene.store.delete(packSetKey({ ...point, revision: 0 }), call),
    ],
    [
      'while a pack set is damaged',
      async ({ scene, point }) => {
        const key = packSetKey({ ...point, revision: 0 })
        const bytes = await scene.store.get(key, call)
        await scene.store.put(
          key,
          bytes.map((byte, at) => (at === 100 ? byte ^ 1 : byte)),
          call,
        )
      },
    ],
    [
      'while a pack set is one that was moved there',
      async ({ scene, point }) => {
        const key = packSetKey({ ...point, revision: 0 })
        await scene.store.put(packSetKey({ ...point, revision: 1 }), await scene.store.get(key, call), call)
      },
    ],
    [
      'while something that is no manifest lies among the manifests',
      async ({ scene }) => await scene.store.put(`${prefixes.manifests}what-is-this`, new Uint8Array(10), call),
    ],
    [
      'while a condemned list cannot be read',
      async ({ scene }) => await scene.store.put(condemnedListKey(scene.newId()), new Uint8Array(300), call),
    ],
    [
      'while a fence cannot be read',
      async ({ scene }) => await scene.store.put(`leases/${scene.newId()}/fenced`, new Uint8Array(300), call),
    ],
    [
      'while the store holds what is newer than now',
      async ({ scene }) => {
        scene.pass(HOUR_MS)
        await scene.putPoint([])
        scene.pass(-HOUR_MS)
      },
    ],
  ]
  test.each(damages)('%s', async (_name, damage) => {
    const made = await makeScene()
    const { scene, garbage, there } = made
    await scene.collect()
    scene.pass(25 * HOUR_MS)
    await damage(made)
    const report = await scene.collect()
    expect(report.stopped?.code).toMatch(/^repository\.(object_corrupt|clock_jumped)$/)
    expect(report).toMatchObject({ deleted: { packs: 0 }, condemned: { packs: 0 } })
    expect(await there(garbage)).toEqual([true, true])
  })

  test.each([prefixes.leases, prefixes.condemnedLists, prefixes.manifests, prefixes.packSets, prefixes.packs])(
    'while %s cannot be listed to the end',
    async (prefix) => {
      const { scene, garbage, there } = await makeScene()
      await scene.collect()
      scene.pass(25 * HOUR_MS)
      const store = changed(scene, {
        list: async function* (asked, options) {
          yield* scene.store.list(asked, options)
          if (asked === prefix) await scene.store.get('packs/none', options)
        },
      })
      const report = await scene.collect({}, { store })
      expect(report.stopped).toMatchObject({ code: 'storage.not_found' })
      expect(await there(garbage)).toEqual([true, true])
    },
  )

  test('where the clock of the store was set forward: what was condemned waits anew', async () => {
    const { scene, garbage, there } = await makeScene()
    const first = await scene.collect()
    scene.pass(2 * DAY_MS)
    scene.wallOffsetMs -= 2 * DAY_MS
    const second = await scene.collect()
    expect(second.waiting).toEqual([{ runId: first.runId, packs: 2, why: 'clock' }])
    expect(second).toMatchObject({ condemned: { packs: 2 }, deleted: { packs: 0 } })
    expect(await there(garbage)).toEqual([true, true])
    scene.pass(25 * HOUR_MS)
    expect(await scene.collect()).toMatchObject({ deleted: { packs: 2 } })
  })

  test('where a machine says that it booted no day ago', async () => {
    const { scene, garbage, there } = await makeScene()
    await scene.collect()
    const { machine } = scene
    scene.pass(2 * DAY_MS)
    // Both clocks are one: only the time since the boot tells.
    const readClocks = () => ({ ...machine.readClocks(), upMs: machine.readClocks().upMs - 2 * DAY_MS })
    const report = await scene.collect({}, { machine: { ...machine, readClocks } })
    expect(report.waiting).toMatchObject([{ why: 'clock' }])
    expect(await there(garbage)).toEqual([true, true])
  })

  test('of a writer whose first heartbeat is gone: he may have begun at any time', async () => {
    const { scene, garbage, there } = await makeScene()
    await scene.collect()
    scene.pass(25 * HOUR_MS)
    const lease = await scene.takeLease(scene.newPoint())
    await lease.confirm(call)
    await scene.store.delete(leaseKey({ writerId: lease.writerId, counter: 0 }), call)
    expect((await scene.collect()).waiting).toMatchObject([{ why: 'session' }])
    expect(await there(garbage)).toEqual([true, true])
  })

  test('of a restore point that listings do not show', async () => {
    const { scene, needed, there } = await makeScene()
    const late = await scene.putPoint(needed)
    scene.hidden.add(manifestKey(late))
    scene.hidden.add(`sets/${late.vmId}`)
    const report = await scene.collect()
    expect(report).toMatchObject({ restorePoints: 1 })
    expect(report.stopped).toBeUndefined()
    expect(await there(needed)).toEqual([true, true])
    expect(protocolTimes.graceMs).toBeGreaterThan(2 * protocolTimes.lateListingMs)
  })
})
