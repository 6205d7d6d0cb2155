import { describeCatalogue } from '../catalogue.conformance.ts'
import { createMemoryCatalogue } from './memory-catalogue.ts'

describeCatalogue('memory', async () => createMemoryCatalogue())
