import { execFile } from 'node:child_process'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { BackupPeer } from './backup-peer.ts'
import { runMeasured } from './run-measured.ts'

/** restic with its own defaults: compression `auto`, packs of 16 MiB, cache beside the repository. */
export async function openRestic(dir: string, image: string): Promise<BackupPeer> {
  const repository = join(dir, 'restic')
  const env = {
    RESTIC_PASSWORD: 'benchmark',
    RESTIC_CACHE_DIR: join(dir, 'restic-cache'),
    RESTIC_REPOSITORY: repository,
  }
  const run = async (...args: string[]) => await runMeasured('restic', ['--quiet', ...args], { env })
  const { stdout } = await promisify(execFile)('restic', ['version'])
  return {
    name: 'restic',
    version: stdout.trim(),
    create: async () => {
      await rm(repository, { recursive: true, force: true })
      await rm(env.RESTIC_CACHE_DIR, { recursive: true, force: true })
      await run('init')
    },
    // Without --force an image whose size and time are unchanged would not be read at all.
    backUp: async () => await run('backup', '--force', '--tag', 'image', image),
    backUpAll: async (paths) => await run('backup', '--tag', 'all', ...paths),
    restore: async (into) => {
      const target = join(into, 'restic-target')
      await mkdir(target, { recursive: true })
      const usage = await run('restore', 'latest', '--tag', 'image', '--target', target)
      await rm(target, { recursive: true })
      return usage
    },
    verify: async () => await run('check', '--read-data'),
    deleteAndCollect: async () => await run('forget', '--tag', 'image', '--keep-last', '1', '--prune'),
  }
}
