import { createHash } from 'node:crypto'
import {
  type Guarantee,
  guarantee,
  guaranteeReason,
  guaranteeRefused,
  guaranteeSame,
  listKeys,
  sourceOf,
} from './guarantee.ts'
import type { ObjectStore } from './object-store.ts'

/** What every store promises. */
export const basicGuarantees: readonly Guarantee[] = [
  {
    promise: 'returns exactly the bytes that were put, of any size, the empty one too',
    run: async ({ store, prefix, signal, randomBytes }) => {
      for (const lengthBytes of [0, 1, 2, 255, 4096, 65_537, 1_048_577]) {
        const key = `${prefix}size-${lengthBytes}`
        const body = randomBytes(lengthBytes)
        await store.put(key, body, { signal })
        guaranteeSame(await store.get(key, { signal }), body, key)
        const facts = await store.find(key, { signal })
        guarantee(facts?.sizeBytes === lengthBytes && facts.key === key, `find says ${JSON.stringify(facts)}`)
      }
    },
  },
  {
    promise: 'takes every key that the contract allows, and keeps keys that look alike apart',
    run: async ({ store, prefix, signal }) => {
      const names = ['a', 'A', '_', '0', 'a.b-c_d=e', 'a-b', 'a.b', 'ab', 'deep/er/and/deeper', 'x'.repeat(200)]
      const room = 512 - prefix.length
      const long = `${'y'.repeat(199)}/${'z'.repeat(199)}/${'w'.repeat(199)}`.slice(0, Math.max(3, room))
      const keys = [...names, long.replace(/\/$/, 'y')].map((name) => prefix + name)
      for (const key of keys) await store.put(key, Buffer.from(key), { signal })
      for (const key of keys) guaranteeSame(await store.get(key, { signal }), Buffer.from(key), key)
      for (const key of ['', '/a', 'a/', 'a//b', '../a', 'a/./b', '.a', 'ä', 'a b', 'a\u0000', 'a.', 'x'.repeat(201)]) {
        await guaranteeRefused(store.put(key, Uint8Array.of(1), { signal }), 'input.invalid', `putting ${key}`)
        await guaranteeRefused(store.find(key, { signal }), 'input.invalid', `finding ${key}`)
        await guaranteeRefused(store.delete(key, { signal }), 'input.invalid', `deleting ${key}`)
      }
    },
  },
  {
    promise: 'reads any range, and refuses one that leaves the object',
    run: async ({ store, prefix, signal, randomBytes }) => {
      const key = `${prefix}ranges`
      const body = randomBytes(100_000)
      await store.put(key, body, { signal })
      for (const [from, to] of [
        [0, 100_000],
        [0, 1],
        [99_999, 100_000],
        [12_345, 67_890],
        [50_000, 50_000],
        [100_000, 100_000],
      ] as const) {
        const into = new Uint8Array(to - from).fill(0xee)
        await store.read(key, from, into, { signal })
        guaranteeSame(into, body.subarray(from, to), `bytes ${from} to ${to}`)
      }
      for (const [from, length] of [
        [99_999, 2],
        [100_001, 0],
        [200_000, 1],
        [-1, 1],
        [0.5, 1],
      ] as const) {
        const call = store.read(key, from, new Uint8Array(length), { signal })
        await guaranteeRefused(call, 'input.invalid', `reading ${length} bytes at ${from}`)
      }
      const empty = `${prefix}empty`
      await store.put(empty, new Uint8Array(0), { signal })
      await store.read(empty, 0, new Uint8Array(0), { signal })
      await guaranteeRefused(store.read(empty, 0, new Uint8Array(1), { signal }), 'input.invalid', 'past an empty one')
    },
  },
  {
    promise: 'what is not there: find says so, get and read reject, delete resolves',
    run: async ({ store, prefix, signal }) => {
      const key = `${prefix}absent`
      guarantee((await store.find(key, { signal })) === undefined, 'an object is found that nobody put')
      await guaranteeRefused(store.get(key, { signal }), 'storage.not_found', 'getting what is absent')
      await guaranteeRefused(store.read(key, 0, new Uint8Array(1), { signal }), 'storage.not_found', 'reading')
      await guaranteeRefused(store.read(key, 0, new Uint8Array(0), { signal }), 'storage.not_found', 'reading nothing')
      await store.delete(key, { signal })
      await store.put(key, Uint8Array.of(1), { signal })
      await store.delete(key, { signal })
      await store.delete(key, { signal })
      guarantee((await store.find(key, { signal })) === undefined, 'an object is found that was deleted')
      await guaranteeRefused(store.get(key, { signal }), 'storage.not_found', 'getting what was deleted')
      guarantee((await listKeys(store, prefix, { signal })).length === 0, 'an object is listed that was deleted')
    },
  },
  {
    promise: 'lists by prefix in the order of the keys’ bytes, and from any key on',
    run: async ({ store, prefix, signal }) => {
      const names = ['a/1', 'a/2', 'a-x', 'a.x', 'a=x', 'a0', 'aB', 'a_', 'ab', 'b/c/d', 'b/c/e', 'B', 'Z', '_', '9']
      const keys = names.map((name) => prefix + name)
      await Promise.all(keys.map(async (key, index) => await store.put(key, new Uint8Array(index), { signal })))
      const sorted = keys.toSorted((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right)))
      await expectListed(store, prefix, sorted, signal)
      for (const start of ['a', 'a/', 'b/c', 'b/c/', 'a/1', 'c']) {
        await expectListed(store, prefix + start, matching(sorted, prefix + start), signal)
      }
      for (const after of sorted) {
        const rest = await listKeys(store, prefix, { signal, after })
        const wanted = sorted.slice(sorted.indexOf(after) + 1)
        guarantee(rest.join() === wanted.join(), `after ${after} came ${rest.join()}`)
      }
      for await (const page of store.list(prefix, { signal })) {
        for (const { key, sizeBytes, modifiedAt } of page) {
          guarantee(sizeBytes === keys.indexOf(key), `${key} is listed with ${sizeBytes} bytes`)
          guarantee(!Number.isNaN(modifiedAt.getTime()), `${key} is listed without a date`)
        }
      }
    },
  },
  {
    promise: 'lists every object once, over as many pages as it takes',
    run: async ({ store, prefix, signal }) => {
      const keys = Array.from({ length: 57 }, (_, index) => `${prefix}p${index % 3}/${String(index).padStart(4, '0')}`)
      for (let first = 0; first < keys.length; first += 8) {
        const some = keys.slice(first, first + 8)
        await Promise.all(some.map(async (key) => await store.put(key, Buffer.from(key), { signal })))
      }
      await expectListed(store, prefix, keys.toSorted(), signal)
    },
  },
  {
    promise: 'a body that is not what its checksum says is refused, and nothing is there',
    run: async ({ store, prefix, signal, randomBytes, largeBytes }) => {
      for (const lengthBytes of [0, 1000, largeBytes]) {
        const key = `${prefix}sum-${lengthBytes}`
        const body = randomBytes(lengthBytes)
        const other = createHash('sha256').update(body).update('x').digest('hex')
        await guaranteeRefused(store.put(key, body, { signal, sha256: other }), 'storage.checksum_mismatch', key)
        guarantee((await store.find(key, { signal })) === undefined, `${key} is there all the same`)
        const sha256 = createHash('sha256').update(body).digest('hex')
        await store.put(key, body, { signal, sha256 })
        guaranteeSame(await store.get(key, { signal }), body, key)
      }
      const call = store.put(`${prefix}no-sum`, new Uint8Array(1), { signal, sha256: 'abc' })
      await guaranteeRefused(call, 'input.invalid', 'a checksum that is none')
    },
  },
  {
    promise: 'a large object comes back whole, in ranges too, and its body may be read piece by piece',
    run: async ({ store, prefix, signal, randomBytes, largeBytes }) => {
      const key = `${prefix}large`
      const body = randomBytes(largeBytes)
      await store.put(key, sourceOf(body), { signal, sha256: createHash('sha256').update(body).digest('hex') })
      guaranteeSame(await store.get(key, { signal }), body, 'the large object')
      const into = new Uint8Array(Math.floor(largeBytes / 2) + 3)
      await store.read(key, Math.floor(largeBytes / 3), into, { signal })
      const from = Math.floor(largeBytes / 3)
      guaranteeSame(into, body.subarray(from, from + into.length), 'half of the large object')
      guarantee((await store.find(key, { signal }))?.sizeBytes === largeBytes, 'find says another size')
    },
  },
  {
    promise: 'a put that is aborted or whose body fails leaves nothing, and rejects with the reason',
    run: async ({ store, prefix, signal, randomBytes, largeBytes }) => {
      const reason = new Error('enough')
      const aborted = { signal: AbortSignal.abort(reason) }
      await guaranteeReason(store.put(`${prefix}a`, Uint8Array.of(1), aborted), reason)
      await guaranteeReason(store.get(`${prefix}a`, aborted), reason)
      await guaranteeReason(store.find(`${prefix}a`, aborted), reason)
      await guaranteeReason(store.delete(`${prefix}a`, aborted), reason)
      await guaranteeReason(listKeys(store, prefix, aborted), reason)
      const body = randomBytes(largeBytes)
      const abort = new AbortController()
      const stopping = sourceOf(body, () => abort.abort(reason))
      await guaranteeReason(store.put(`${prefix}b`, stopping, { signal: abort.signal }), reason)
      const broken = sourceOf(body, () => {
        throw reason
      })
      await guaranteeReason(store.put(`${prefix}c`, broken, { signal }), reason)
      const left = await listKeys(store, prefix, { signal })
      guarantee(left.length === 0, `${left.join()} is there all the same`)
      for (const name of ['a', 'b', 'c']) {
        guarantee((await store.find(prefix + name, { signal })) === undefined, `${name} is found all the same`)
      }
      await store.put(`${prefix}b`, body, { signal })
      guaranteeSame(await store.get(`${prefix}b`, { signal }), body, 'the next put')
    },
  },
  {
    promise: 'the same bytes may be put again, and an object deleted and put again',
    run: async ({ store, prefix, signal, randomBytes }) => {
      const key = `${prefix}again`
      const body = randomBytes(5000)
      await store.put(key, body, { signal })
      await store.put(key, body, { signal })
      guaranteeSame(await store.get(key, { signal }), body, key)
      guarantee((await listKeys(store, prefix, { signal })).join() === key, 'it is listed otherwise than once')
      await store.delete(key, { signal })
      guarantee((await store.find(key, { signal })) === undefined, 'one delete does not delete what was put twice')
      await store.put(key, body, { signal })
      guaranteeSame(await store.get(key, { signal }), body, key)
    },
  },
  {
    promise: 'many calls at once do not disturb each other, nor the buffers of others',
    run: async ({ store, prefix, signal, randomBytes }) => {
      const bodies = Array.from({ length: 24 }, (_, index) => randomBytes(1 + index * 1777))
      const same = randomBytes(30_000)
      const puts = bodies.map(async (body, index) => await store.put(`${prefix}many/${index}`, body, { signal }))
      const twins = [1, 2, 3, 4].map(async () => await store.put(`${prefix}twin`, same, { signal }))
      await Promise.all([...puts, ...twins])
      const got = await Promise.all(
        bodies.map(async (_, index) => await store.get(`${prefix}many/${index}`, { signal })),
      )
      for (const [index, body] of bodies.entries()) guaranteeSame(got[index] ?? new Uint8Array(), body, `body ${index}`)
      guaranteeSame(await store.get(`${prefix}twin`, { signal }), same, 'an object that four put at once')
      const buffer = randomBytes(20_000)
      const before = buffer.slice()
      await store.put(`${prefix}buffer`, buffer, { signal })
      guaranteeSame(buffer, before, 'the caller’s buffer after a put')
      buffer.fill(0)
      guaranteeSame(
        await store.get(`${prefix}buffer`, { signal }),
        before,
        'the object after its buffer was used again',
      )
    },
  },
]

async function expectListed(store: ObjectStore, prefix: string, wanted: string[], signal: AbortSignal): Promise<void> {
  const found = await listKeys(store, prefix, { signal })
  guarantee(found.join() === wanted.join(), `under ${prefix} is listed ${found.join()}, expected ${wanted.join()}`)
}

function matching(keys: readonly string[], prefix: string): string[] {
  return keys.filter((key) => key.startsWith(prefix))
}
