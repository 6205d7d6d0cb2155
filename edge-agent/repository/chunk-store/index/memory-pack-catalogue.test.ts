import { createMemoryPackCatalogue } from './memory-pack-catalogue.ts'
import { describePackCatalogue } from './pack-catalogue.conformance.ts'

describePackCatalogue('memory', async () => ({
  catalogue: createMemoryPackCatalogue(),
  [Symbol.asyncDispose]: async () => undefined,
}))
