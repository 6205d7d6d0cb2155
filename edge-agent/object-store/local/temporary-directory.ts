import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'

/** For tests: an empty directory that is gone when it is disposed. */
export async function temporaryDirectory(): Promise<AsyncDisposable & { readonly path: string }> {
  const made = await mkdtemp(path.join(tmpdir(), 'sendense-store-'))
  return { path: made, [Symbol.asyncDispose]: async () => await rm(made, { recursive: true, force: true }) }
}
