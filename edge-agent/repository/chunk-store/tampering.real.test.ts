import { randomBytes } from 'node:crypto'
import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { seededRandom } from '@sendense/shared/runtime/seeded-random.ts'
import { beforeAll, describe, expect, test } from 'vitest'
import { createMemoryStore } from '../../object-store/memory/memory-store.ts'
import { restoreAll } from '../repository-scenario.ts'
import { call, Guest, sameBytes, UNIT_BYTES } from '../scenario-guest.ts'
import { createMemoryPackCatalogue } from './index/memory-pack-catalogue.ts'
import { lentStore, makeTestChunkRepository, type TestChunkRepository } from './test-chunk-repository.ts'

const SEED = 20_260
const { signal } = call()

/** A repository with two restore points of one VM, and what is in its store. */
interface Scene {
  readonly made: TestChunkRepository
  readonly objects: Map<string, Uint8Array>
  readonly points: readonly { readonly id: string; readonly content: Uint8Array }[]
}

async function makeScene(): Promise<Scene> {
  const store = createMemoryStore()
  const made = await makeTestChunkRepository(lentStore(store), { signal })
  await using repository = await made.open()
  const guest = new Guest()
  const points: { id: string; content: Uint8Array }[] = []
  for (let round = 0; round < 2; round += 1) {
    for (const unit of [1, 4, 9]) await guest.disk.write(unit * UNIT_BYTES, randomBytes(UNIT_BYTES), { signal })
    await guest.fill(12 + round, round + 1)
    const { manifest } = await guest.backUp(repository)
    points.push({ id: manifest.restorePointId, content: guest.disk.bytes.slice() })
  }
  const objects = new Map<string, Uint8Array>()
  for await (const page of store.list('', { signal })) {
    for (const { key } of page) objects.set(key, await store.get(key, { signal }))
  }
  return { made, objects, points }
}

/** What of a kind the object is: the first part of its key. */
function kindOf(key: string): string {
  return key.split('/', 1)[0] ?? ''
}

let scene: Scene
let foreign: Scene
beforeAll(async () => {
  scene = await makeScene()
  foreign = await makeScene()
})

/**
 * Restores all from a store that holds these objects: `wrong` where a byte is not as it was, `found` where somebody said so
 * before any such byte was given out, else `right`.
 */
async function outcomeOf(
  objects: ReadonlyMap<string, Uint8Array>,
  withCatalogue: boolean,
): Promise<'right' | 'found' | 'wrong'> {
  const store = createMemoryStore()
  for (const [key, bytes] of objects) await store.put(key, bytes, { signal })
  const catalogue = withCatalogue ? scene.made.catalogue : createMemoryPackCatalogue()
  let outcome: 'right' | 'found' = 'right'
  const note = (error: unknown): undefined => {
    if (!isPlatformError(error) || !error.code.startsWith('repository.')) throw error
    outcome = 'found'
  }
  const repository = await scene.made.open({ store: await lentStore(store)(), catalogue }).catch(note)
  if (repository === undefined) return outcome
  for (const { id, content } of scene.points) {
    const restored = await restoreAll(repository, id, { signal }).catch(note)
    if (restored !== undefined && !sameBytes(restored.get('disk0'), content)) return 'wrong'
  }
  return outcome
}

/** The outcomes of all changes of an object, by its kind: `rp right`. */
class Outcomes {
  readonly counts = new Map<string, number>()

  async note(key: string, changed: Iterable<readonly [string, Uint8Array]>, known: boolean): Promise<void> {
    const text = `${kindOf(key)} ${await outcomeOf(new Map(changed), known)}`
    this.counts.set(text, (this.counts.get(text) ?? 0) + 1)
  }

  /** What was seen, sorted. */
  get seen(): string[] {
    return [...this.counts.keys()].toSorted()
  }
}

describe.each([true, false])(
  'whatever is done to the objects in the store, with a catalogue beside it: %s',
  (known) => {
    test('as it is, all restores', async () => {
      expect(await outcomeOf(scene.objects, known)).toBe('right')
    })

    test(`a flipped bit anywhere is found, or does not matter (seed ${SEED})`, async () => {
      const random = seededRandom(SEED)
      const outcomes = new Outcomes()
      for (const [key, bytes] of scene.objects) {
        for (let round = 0; round < 6; round += 1) {
          const at = Math.floor(random() * bytes.length)
          const changed = bytes.slice()
          changed[at] = (changed[at] ?? 0) ^ (1 << Math.floor(random() * 8))
          await outcomes.note(key, [...scene.objects, [key, changed]], known)
        }
      }
      expect(outcomes.seen.filter((text) => text.endsWith('wrong'))).toEqual([])
      expect(outcomes.seen).toEqual(
        expect.arrayContaining(['packs found', 'repo.json found', 'rp found', 'sets found']),
      )
      expect(outcomes.seen).not.toContain('rp right')
      expect(outcomes.seen).not.toContain('sets right')
    })

    test('an object cut off, emptied, or gone is found, or does not matter', async () => {
      const outcomes = new Outcomes()
      for (const [key, bytes] of scene.objects) {
        const others = [...scene.objects].filter(([other]) => other !== key)
        for (const lengthBytes of [bytes.length - 1, bytes.length >> 1, 0]) {
          await outcomes.note(key, [...others, [key, bytes.slice(0, lengthBytes)]], known)
        }
        await outcomes.note(key, others, known)
      }
      expect(outcomes.seen.filter((text) => text.endsWith('wrong'))).toEqual([])
      expect(outcomes.seen).not.toContain('rp right')
      expect(outcomes.seen).not.toContain('sets right')
    })

    test('objects that took each other’s place, or that are another repository’s, are found', async () => {
      const outcomes = new Outcomes()
      for (const [key] of scene.objects) {
        for (const [other, bytes] of [...scene.objects, ...foreign.objects]) {
          if (other === key || kindOf(other) !== kindOf(key)) continue
          await outcomes.note(key, [...scene.objects, [key, bytes]], known)
        }
      }
      expect(outcomes.seen.filter((text) => text.endsWith('wrong'))).toEqual([])
      expect(outcomes.seen).not.toContain('rp right')
      expect(outcomes.seen).not.toContain('sets right')
    })
  },
)
