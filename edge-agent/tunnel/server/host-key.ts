import { link, mkdir, open, readFile, unlink } from 'node:fs/promises'
import path from 'node:path'
import process from 'node:process'
import { type Ed25519Key, generateEd25519Key, readEd25519Key } from '../ssh/ed25519-key.ts'

const FILE = 'tunnel-host.key'

export interface HostKey extends Ed25519Key {
  /** PEM. */
  readonly pem: string
}

/**
 * The host key in `stateDir`, made once and readable by its owner only. The agent and its command line may make it at
 * the same time: one of them wins, both get that one.
 */
export async function openHostKey(stateDir: string): Promise<HostKey> {
  const file = path.join(stateDir, FILE)
  const pem = (await readIfThere(file)) ?? (await makeOnce(file))
  return { ...readEd25519Key(pem, file), pem }
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

async function makeOnce(file: string): Promise<string> {
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 })
  const fresh = `${file}.${process.pid}`
  const handle = await open(fresh, 'w', 0o600)
  try {
    await handle.writeFile(generateEd25519Key())
    await handle.sync()
  } finally {
    await handle.close()
  }
  try {
    // Unlike a rename, this never replaces a key that somebody may have pinned already.
    await link(fresh, file)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
  } finally {
    await unlink(fresh)
  }
  const directory = await open(path.dirname(file), 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
  return await readFile(file, 'utf8')
}
