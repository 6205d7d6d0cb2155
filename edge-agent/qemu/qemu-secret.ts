import { randomUUID } from 'node:crypto'
import { access, constants, type FileHandle, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A file system in memory, where the machine has one: the key is never on a disk. */
const MEMORY_DIR = '/dev/shm'
/** The first descriptor after the standard ones: where `stdio` of node:child_process puts it. */
const INHERITED_FD = 3

/** A key that a QEMU program needs, as its `secret` object (QEMU docs/system/secrets.rst). */
export interface QemuSecret {
  /** What nodes and options call it: `key-secret`. */
  readonly id: string
  /** UTF-8, as LUKS passphrases must be. */
  readonly text: string
}

/** How one run of a QEMU program is given its secret: not on its command line, not in its environment. */
export interface HandedSecret extends AsyncDisposable {
  /** Go before whatever refers to the secret. */
  readonly args: readonly string[]
  /** Further entries of `stdio`. */
  readonly stdio: readonly number[]
}

const NOTHING: HandedSecret = { args: [], stdio: [], [Symbol.asyncDispose]: async () => undefined }

/** Writes the secret into a file without a name, which the program inherits. Dispose it as soon as the program runs. */
export async function handSecret(secret: QemuSecret | undefined): Promise<HandedSecret> {
  if (secret === undefined) return NOTHING
  const file = await openNameless(secret.text)
  return {
    args: ['--object', `secret,id=${secret.id},file=/dev/fd/${INHERITED_FD}`],
    stdio: [file.fd],
    [Symbol.asyncDispose]: async () => await file.close(),
  }
}

async function openNameless(text: string): Promise<FileHandle> {
  const path = join(await secretDir(), `.sd-${randomUUID()}`)
  const file = await open(path, 'wx+', 0o600)
  try {
    await rm(path)
    await file.writeFile(text)
    return file
  } catch (error) {
    await file.close()
    throw error
  }
}

async function secretDir(): Promise<string> {
  try {
    await access(MEMORY_DIR, constants.W_OK)
    return MEMORY_DIR
  } catch {
    return tmpdir()
  }
}
