import { describeRepository } from '../repository.conformance.ts'
import { createMemoryRepositoryStore, openMemoryRepository } from './memory-repository.ts'

describeRepository('memory', async () => {
  const store = createMemoryRepositoryStore({ chunkSizeBytes: 64 * 1024 })
  const reopen = async () => openMemoryRepository(store, { chainPointsMax: 3 })
  return { repository: await reopen(), reopen, [Symbol.asyncDispose]: async () => undefined }
})
