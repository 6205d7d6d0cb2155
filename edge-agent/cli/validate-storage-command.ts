import process from 'node:process'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Command, InvalidArgumentError } from 'commander'
import { validateStore, type ValidationReport } from '../object-store/validate-store.ts'
import { readStorage, STORAGE_HELP } from './read-storage.ts'

const EXIT_BROKEN = 2
const EXIT_LEFT_BEHIND = 3
const RETAIN_MAX_SECONDS = 3600

interface ValidateStorageOptions {
  readonly json?: boolean
  readonly retainSeconds: number
}

/** Adds `validate-storage`: whether a customer's own storage keeps what repositories rely on. */
export function registerValidateStorageCommand(program: Command): void {
  program
    .command('validate-storage <storage>')
    .description('try whether a storage keeps what repositories rely on; what it puts there it deletes')
    .addHelpText(
      'after',
      [
        STORAGE_HELP,
        '',
        'Exit codes: 0 all is kept · 1 it could not be tried · 2 something is broken · 3 kept, but locked objects were left.',
      ].join('\n'),
    )
    .option('--json', 'print JSON')
    .option('--retain-seconds <seconds>', 'how long what is locked for the trial stays', parseSeconds, 30)
    .action(validateStorage)
}

async function validateStorage(storage: string, { json, retainSeconds }: ValidateStorageOptions): Promise<void> {
  const stop = new AbortController()
  const interrupt = (): void => stop.abort(new PlatformError('internal.cancelled', 'stopped by the keyboard'))
  process.once('SIGINT', interrupt)
  try {
    const report = await validateStore(await readStorage(storage), {
      signal: stop.signal,
      retainForMs: retainSeconds * 1000,
      onProgress: (sentence) => process.stderr.write(`${sentence}\n`),
    })
    process.stdout.write(`${json === true ? JSON.stringify(report, null, 2) : describeReport(report).join('\n')}\n`)
    process.exitCode = exitCodeOf(report)
  } finally {
    process.off('SIGINT', interrupt)
  }
}

function exitCodeOf({ guarantees, leftBehind }: ValidationReport): number {
  if (guarantees.some(({ outcome }) => outcome === 'broken')) return EXIT_BROKEN
  return leftBehind.length > 0 ? EXIT_LEFT_BEHIND : 0
}

function describeReport({ store, vendor, findings, guarantees, quirks, leftBehind }: ValidationReport): string[] {
  const broken = guarantees.filter(({ outcome }) => outcome === 'broken')
  const kept = guarantees.filter(({ outcome }) => outcome === 'kept')
  return [
    `${store}${vendor === undefined ? '' : ` (${vendor})`}`,
    '',
    'What it does',
    ...findings.map(({ capability, outcome, detail }) => `  ${outcome.padEnd(8)} ${capability.padEnd(23)} ${detail}`),
    '',
    'What it keeps',
    ...guarantees.map(({ promise, outcome, reason }) => {
      return `  ${outcome.padEnd(12)} ${promise}${reason === undefined ? '' : `\n               ${reason}`}`
    }),
    ...(quirks.length === 0 ? [] : ['', `What is known of ${vendor}`]),
    ...quirks.map(({ fact, consequence, source }) => `  ${fact}. ${consequence}. (${source})`),
    ...(leftBehind.length === 0 ? [] : ['', 'What could not be deleted']),
    ...leftBehind.map(({ key, why }) => `  ${key}  ${why}`),
    '',
    broken.length === 0
      ? `All ${kept.length} promises that it makes are kept.`
      : `${broken.length} of ${kept.length + broken.length} promises are broken: do not keep backups here.`,
  ]
}

function parseSeconds(text: string): number {
  const seconds = Number(text)
  if (Number.isInteger(seconds) && seconds >= 1 && seconds <= RETAIN_MAX_SECONDS) return seconds
  throw new InvalidArgumentError(`a number from 1 to ${RETAIN_MAX_SECONDS}`)
}
