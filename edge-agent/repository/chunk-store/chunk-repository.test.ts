import { createMemoryStore } from '../../object-store/memory/memory-store.ts'
import { describeRepository } from '../repository.conformance.ts'
import { lentStore, makeTestChunkRepository } from './test-chunk-repository.ts'

describeRepository(
  'chunks in memory',
  async () => {
    const signal = AbortSignal.timeout(60_000)
    const made = await makeTestChunkRepository(lentStore(createMemoryStore()), { signal })
    const space = { capacityBytes: 1e9, freeBytes: 1e9 }
    const reopen = async () => await made.open({ measureSpace: async () => space })
    return { repository: await reopen(), reopen, [Symbol.asyncDispose]: async () => undefined }
  },
  { chains: 'none' },
)
