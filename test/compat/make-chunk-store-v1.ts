import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fixedRepository } from './chunk-store-v1.ts'

/** Writes the files of `chunk-store-v1/`. Fails where one is there: they are made once. */
const { objects } = await fixedRepository()
for (const [key, bytes] of objects) {
  const file = path.join(import.meta.dirname, 'chunk-store-v1', key)
  await mkdir(path.dirname(file), { recursive: true })
  await writeFile(file, bytes, { flag: 'wx' })
}
