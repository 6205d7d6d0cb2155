import { describeRepository } from '../repository.conformance.ts'
import { makeTemporaryRepository } from './temporary-repository.ts'

describeRepository('QCOW2 chains', async () => {
  const place = await makeTemporaryRepository({ signal: AbortSignal.timeout(60_000) })
  const reopen = async () => await place.open({ chainLayersMax: 3 })
  return { repository: await reopen(), reopen, [Symbol.asyncDispose]: async () => await place[Symbol.asyncDispose]() }
})
