import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import type { BackupPeer } from './backup-peer.ts'
import { runMeasured } from './run-measured.ts'

/** borg with a repository key, BLAKE2b ids and zstd level 1, reading sparse files as such. */
export async function openBorg(dir: string, image: string): Promise<BackupPeer> {
  const repository = join(dir, 'borg')
  const env = {
    BORG_PASSPHRASE: 'benchmark',
    BORG_BASE_DIR: join(dir, 'borg-base'),
    BORG_REPO: repository,
    BORG_RELOCATED_REPO_ACCESS_IS_OK: 'yes',
    BORG_DELETE_I_KNOW_WHAT_I_AM_DOING: 'YES',
  }
  const run = async (...args: string[]) => await runMeasured('borg', args, { env })
  const create = ['create', '--compression', 'zstd,1', '--sparse', '--files-cache', 'disabled']
  const archives: string[] = []
  const { stdout } = await promisify(execFile)('borg', ['--version'])
  const backUp = async (name: string, path: string) =>
    await runMeasured('borg', [...create, `::${name}`, basename(path)], { env, cwd: dirname(path) })
  return {
    name: 'borg',
    version: stdout.trim(),
    create: async () => {
      await rm(repository, { recursive: true, force: true })
      await rm(env.BORG_BASE_DIR, { recursive: true, force: true })
      archives.length = 0
      await run('init', '--encryption', 'repokey-blake2')
    },
    backUp: async () => {
      const name = `image-${archives.length}`
      archives.push(name)
      return await backUp(name, image)
    },
    backUpAll: async (paths) => await runMeasured('borg', [...create, `::all-${randomUUID()}`, ...paths], { env }),
    restore: async (into) => {
      const target = join(into, 'borg-target')
      await mkdir(target, { recursive: true })
      const newest = archives.at(-1) ?? ''
      const usage = await runMeasured('borg', ['extract', '--sparse', `::${newest}`], { env, cwd: target })
      await rm(target, { recursive: true })
      return usage
    },
    verify: async () => await run('check', '--verify-data'),
    deleteAndCollect: async () => {
      const oldest = archives.shift() ?? ''
      const deleted = await run('delete', `::${oldest}`)
      const compacted = await run('compact')
      return {
        seconds: deleted.seconds + compacted.seconds,
        cpuSeconds: deleted.cpuSeconds + compacted.cpuSeconds,
        peakBytes: Math.max(deleted.peakBytes, compacted.peakBytes),
      }
    },
  }
}
