import { type FileHandle, open } from 'node:fs/promises'
import path from 'node:path'
import process from 'node:process'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { newId } from '@sendense/shared/runtime/identifiers.ts'
import { readOptionalFile } from '@sendense/shared/runtime/secret-file.ts'
import { importSigningKey } from '@sendense/shared/runtime/signing.ts'
import type { Command } from 'commander'
import { readConfig } from '../config.ts'
import { createRecoveryKit } from '../jobs/recovery-kits.ts'
import { recoveryKitSheet, recoveryKitTerminalCode } from '../repository/chunk-store/keys/recovery-kit-print.ts'

const CREATE_TIMEOUT_MS = 10 * 60_000

interface CreateOptions {
  readonly label: string
  readonly output?: string
}

/** Adds `recovery-kit create`: what opens a repository when all else is lost. */
export function registerRecoveryKitCommand(program: Command): void {
  program
    .command('recovery-kit')
    .description('what opens a repository when agent and portal are lost')
    .command('create <repositoryId>')
    .description('make a recovery kit for a repository of this agent, and print it once')
    .option('--label <text>', 'whose it is, for people', 'recovery kit')
    .option('--output <file>', 'write the sheet to a new file that only this user may read, instead of the terminal')
    .addHelpText(
      'after',
      [
        '',
        'The kit and the storage are enough to restore, with sendense-restore and nothing else. It is shown this once: print it,',
        'and keep it where neither the backups nor this machine are. Kits that were made before stay good.',
      ].join('\n'),
    )
    .action(create)
}

async function create(repositoryId: string, { label, output }: CreateOptions): Promise<void> {
  const { stateDir } = readConfig(process.env)
  const key = await readOptionalFile(path.join(stateDir, 'identity.key'))
  if (key === undefined) throw new PlatformError('config.invalid', `there is no agent whose state is in ${stateDir}`)
  const wanted = { stateDir, repositoryId, label, signingKey: importSigningKey(key), newId, clock: systemClock }
  await using place = output === undefined ? undefined : await newFile(output)
  using kit = await createRecoveryKit(wanted, { signal: AbortSignal.timeout(CREATE_TIMEOUT_MS) })
  const sheet = recoveryKitSheet(kit, label, systemClock.now())
  if (place === undefined) process.stdout.write(`${sheet}\n${recoveryKitTerminalCode(kit)}\n`)
  else await place.writeFile(sheet)
}

/** Before there is a kit: one that could not be written down would open the repository for nobody. */
async function newFile(file: string): Promise<FileHandle> {
  try {
    return await open(file, 'wx', 0o600)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new PlatformError('input.invalid', `cannot make ${file}: ${why}`, { cause: error })
  }
}
