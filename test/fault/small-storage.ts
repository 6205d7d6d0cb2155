import { mkdir, rename, rm, statfs, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { runCommand } from '@sendense/infra/processes/run-command.ts'

const options = () => ({ signal: AbortSignal.timeout(20_000) })
const asRoot = process.getuid?.() === 0 ? [] : ['sudo', '-n']

async function run(...command: string[]): Promise<void> {
  const [file = '', ...args] = [...asRoot, ...command]
  await runCommand(file, args, options())
}

/**
 * A file system of its own, of a fixed size, under the stack's repository directory: it can be filled, and it can be
 * taken away as a mount that is gone.
 */
export class SmallStorage {
  readonly #mountPoint: string
  readonly #repositoryDir: string
  readonly #ballast: string

  private constructor(stateDir: string) {
    this.#mountPoint = path.join(stateDir, 'small-storage')
    this.#repositoryDir = path.join(stateDir, 'repository')
    this.#ballast = path.join(this.#mountPoint, 'ballast')
  }

  /** Mounts it before the stack starts. Needs root, or sudo without a password. */
  static async mount(stateDir: string, sizeBytes: number): Promise<SmallStorage> {
    const storage = new SmallStorage(stateDir)
    await mkdir(storage.#mountPoint)
    const owner = `uid=${process.getuid?.() ?? 0},gid=${process.getgid?.() ?? 0}`
    await run(
      'mount',
      '-t',
      'tmpfs',
      '-o',
      `size=${sizeBytes},mode=0700,${owner}`,
      'sendense-test',
      storage.#mountPoint,
    )
    await mkdir(path.join(storage.#mountPoint, 'repository'))
    await storage.bringBack()
    return storage
  }

  async unmount(): Promise<void> {
    await run('umount', this.#mountPoint)
  }

  /** Leaves about `freeBytes`. */
  async fill(freeBytes: number): Promise<void> {
    const { bavail, bsize } = await statfs(this.#mountPoint)
    await writeFile(this.#ballast, Buffer.alloc(bavail * bsize - freeBytes))
  }

  async free(): Promise<void> {
    await rm(this.#ballast, { force: true })
  }

  /** The repository's directory is not there any more. */
  async takeAway(): Promise<void> {
    await rename(this.#repositoryDir, `${this.#repositoryDir}.away`)
  }

  async bringBack(): Promise<void> {
    await rm(`${this.#repositoryDir}.away`, { force: true })
    await symlink(path.join(this.#mountPoint, 'repository'), this.#repositoryDir)
  }
}
