import { randomBytes } from 'node:crypto'
import process from 'node:process'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { newId } from '@sendense/shared/runtime/identifiers.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { openMariadbCatalogue } from '../catalog/mariadb/mariadb-catalogue.ts'
import { readConfig } from '../config.ts'
import {
  adoptAgentRepository,
  createAgentRepository,
  listAgentRepositories,
  openAgentKeys,
} from '../jobs/chunk-repositories.ts'
import { collectRepository } from '../repository/chunk-store/collect/collect-repository.ts'
import { loadIndex } from '../repository/chunk-store/index/load-index.ts'
import { thisMachine } from '../repository/chunk-store/lease/this-machine.ts'
import { describeCollection } from './describe-collection.ts'
import { readPassphrase } from './read-passphrase.ts'
import { readStorage, STORAGE_HELP } from './read-storage.ts'

const CREATE_TIMEOUT_MS = 10 * 60_000
const PROTECTION_DAYS_MAX = 36_500

const COLLECT_HELP = `
A first run condemns what no restore point needs: nothing refers to it from then on. A run a day later or more deletes it, when
everybody who wrote meanwhile has ended. So run it once or several times a day; it may run beside backups and beside itself.
Whatever is not as it must be ends the run before anything is deleted; then it says why, and the exit status is 1.
`

interface CollectOptions {
  readonly dryRun?: boolean
  readonly json?: boolean
}

interface NewOptions {
  readonly name: string
  readonly passphraseFile?: string
  readonly protectDays?: number
  readonly protectMode: 'governance' | 'compliance'
}

/** Adds `chunk-store create|open|list|rebuild-index|collect`: chunk repositories of this agent, which opens them at its next start. */
export function registerChunkStoreCommands(program: Command): void {
  const repository = program.command('chunk-store').description('repositories of this agent on object storage')
  withNewOptions(repository.command('create <storage>'))
    .description('make a repository that this agent and a passphrase can open')
    .action(async (storage: string, options: NewOptions) => await make(storage, options, createAgentRepository))
  withNewOptions(repository.command('open <storage>'))
    .description('let this agent open a repository that is there, with its passphrase')
    .action(async (storage: string, options: NewOptions) => await make(storage, options, adoptAgentRepository))
  repository.command('list').description('list them').option('--json', 'print JSON').action(list)
  repository
    .command('rebuild-index <repositoryId>')
    .description('read the directories of all packs anew; nothing but the packs is believed')
    .action(rebuildIndex)
  repository
    .command('collect <repositoryId>')
    .description('give back the space of what no restore point needs any more')
    .option('--dry-run', 'show what would be done')
    .option('--json', 'print JSON')
    .addHelpText('after', COLLECT_HELP)
    .action(collect)
}

function withNewOptions(command: Command): Command {
  return command
    .requiredOption('--name <name>', 'its name, for people')
    .option('--passphrase-file <file>', 'the passphrase is its first line; without it you are asked')
    .option('--protect-days <days>', 'retain what is written, with Object Lock, for so many days at least', parseDays)
    .addOption(
      new Option('--protect-mode <mode>', 'governance: a special right lifts it; compliance: nobody can')
        .choices(['governance', 'compliance'])
        .default('governance'),
    )
    .addHelpText('after', STORAGE_HELP)
}

async function make(storage: string, options: NewOptions, work: typeof createAgentRepository): Promise<void> {
  const { stateDir } = readConfig(process.env)
  const { name, passphraseFile, protectDays, protectMode } = options
  const store = await readStorage(storage)
  const passphrase = await readPassphrase(passphraseFile)
  const protection = protectDays === undefined ? {} : { protection: { mode: protectMode, days: protectDays } }
  const wanted = { stateDir, name, store, passphrase, newId, clock: systemClock, ...protection }
  const repositoryId = await work(wanted, { signal: AbortSignal.timeout(CREATE_TIMEOUT_MS) })
  process.stdout.write(`${repositoryId}\n`)
}

async function list({ json }: { readonly json?: boolean }): Promise<void> {
  const repositories = await listAgentRepositories(readConfig(process.env).stateDir)
  const lines = repositories.map(({ repositoryId, name, location }) => `${repositoryId}  ${name}  ${location}\n`)
  process.stdout.write(json === true ? `${JSON.stringify(repositories, null, 2)}\n` : lines.join(''))
}

async function rebuildIndex(repositoryId: string): Promise<void> {
  const config = readConfig(process.env)
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort(new Error('stopped by the keyboard')))
  const { signal } = stop
  const logger = createLogger('sendense-edge', config.logLevel)
  const { databaseSocket: socketPath, databaseName } = config
  await using catalogue = await openMariadbCatalogue({ socketPath, databaseName, logger, signal })
  const { store, keys } = await openAgentKeys(config.stateDir, repositoryId, { signal })
  await using _closing = store
  using _erasing = keys
  const context = { repositoryId, keys }
  const packs = catalogue.packs(repositoryId)
  const index = await loadIndex({ store, catalogue: packs, context, fromPacksAlone: true, logger, signal })
  process.stdout.write(`${index.packs().length} packs with ${index.chunkCount} chunks\n`)
}

async function collect(repositoryId: string, { dryRun, json }: CollectOptions): Promise<void> {
  const { stateDir } = readConfig(process.env)
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort(new PlatformError('internal.cancelled', 'stopped by the keyboard')))
  const { signal } = stop
  const { store, keys } = await openAgentKeys(stateDir, repositoryId, { signal })
  await using _closing = store
  using _erasing = keys
  const context = { repositoryId, keys, randomBytes: (lengthBytes: number) => randomBytes(lengthBytes) }
  const machine = await thisMachine(systemClock)
  // A command is nobody's agent: collections are told apart by their runs.
  const who = { agentId: newId(), newId, machine }
  const report = await collectRepository({ store, context, ...who, isDryRun: dryRun === true, signal })
  process.stdout.write(json === true ? `${JSON.stringify(report, null, 2)}\n` : `${describeCollection(report)}\n`)
  if (report.stopped !== undefined) process.exitCode = 1
}

function parseDays(text: string): number {
  const days = Number(text)
  if (Number.isInteger(days) && days >= 1 && days <= PROTECTION_DAYS_MAX) return days
  throw new InvalidArgumentError(`a number from 1 to ${PROTECTION_DAYS_MAX}`)
}
