import { readFile } from 'node:fs/promises'
import process from 'node:process'
import { createInterface } from 'node:readline/promises'
import { Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { EXIT_INTERRUPTED } from '../cli/serve-exports.ts'
import { importRecipientKey, type RecipientSecret } from '../repository/chunk-store/keys/recipients.ts'
import { RecoveryKit } from '../repository/chunk-store/keys/recovery-kit.ts'

/** What opens a repository, read once it is known which repository it is. Rejects with `input.invalid`. */
export type SecretReader = (repositoryId: string) => Promise<RecipientSecret>

export interface SecretOptions {
  /** File with a recovery kit; `-` for standard input. */
  readonly recoveryKit?: string | undefined
  readonly passphraseFile?: string | undefined
  /** PEM of an agent's or an escrow's X25519 key. */
  readonly privateKey?: string | undefined
}

const PASSPHRASE_VARIABLE = 'SENDENSE_PASSPHRASE'
const KIT_VARIABLE = 'SENDENSE_RECOVERY_KIT'
const SECRET_FILE_MAX_CHARACTERS = 100_000

/** The secret that the options name, else that of the environment, else one that is typed at the terminal. */
export function secretReader(options: SecretOptions, environment: Readonly<Record<string, string | undefined>>) {
  const given = [options.recoveryKit, options.passphraseFile, options.privateKey].filter((file) => file !== undefined)
  if (given.length > 1) {
    throw new PlatformError('input.invalid', 'give one of --recovery-kit, --passphrase-file and --private-key')
  }
  const reader: SecretReader = async (repositoryId) => {
    const { recoveryKit, passphraseFile, privateKey } = options
    if (recoveryKit !== undefined) return kitSecret(await readSecret(recoveryKit), repositoryId)
    if (passphraseFile !== undefined) return passphraseSecret(await readSecret(passphraseFile))
    if (privateKey !== undefined)
      return { kind: 'private-key', privateKey: importRecipientKey(await readSecret(privateKey)) }
    const { [KIT_VARIABLE]: kit, [PASSPHRASE_VARIABLE]: passphrase } = environment
    if (kit !== undefined) return kitSecret(kit, repositoryId)
    if (passphrase !== undefined) return passphraseSecret(passphrase)
    return await askSecret(repositoryId)
  }
  return reader
}

/**
 * A kit in any of the forms that people keep: the printed sheet as a whole, its groups, or the text of its code.
 * Throws `input.invalid`.
 */
export function kitSecret(kitText: string, repositoryId: string): RecipientSecret {
  const code = /SENDENSE-RECOVERY:\S+/i.exec(kitText)?.[0]
  const rows = kitText.split('\n').filter((line) => /^\s*[0-9A-Za-z]{5}([\s-]+[0-9A-Za-z]{5})*\s*$/.test(line))
  const isSheet = /recovery kit/i.test(kitText) && rows.length > 0
  return RecoveryKit.parse(code ?? (isSheet ? rows.join(' ') : kitText), repositoryId).recipientSecret
}

function passphraseSecret(passphrase: string): RecipientSecret {
  return { kind: 'passphrase', passphrase: passphrase.split(/\r?\n/, 1)[0] ?? '' }
}

async function readSecret(file: string): Promise<string> {
  try {
    const content = file === '-' ? await text(process.stdin) : await readFile(file, 'utf8')
    if (content.length <= SECRET_FILE_MAX_CHARACTERS) return content
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new PlatformError('input.invalid', `cannot read ${file}: ${why}`, { cause: error })
  }
  throw new PlatformError('input.invalid', `${file} is too long to hold a key`)
}

async function askSecret(repositoryId: string): Promise<RecipientSecret> {
  if (!process.stdin.isTTY) {
    const text2 = `nothing says how to open repository ${repositoryId}: give --recovery-kit, --passphrase-file or --private-key`
    throw new PlatformError('input.invalid', text2)
  }
  process.stderr.write(`Recovery kit or passphrase of repository ${repositoryId}: `)
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({ input: process.stdin, output: silent, terminal: true })
  // The terminal is in raw mode: Ctrl-C comes as a key. Nothing is open yet.
  lines.once('SIGINT', () => process.exit(EXIT_INTERRUPTED))
  const typed = await lines.question('')
  lines.close()
  process.stderr.write('\n')
  return looksLikeKit(typed) ? kitSecret(typed, repositoryId) : passphraseSecret(typed)
}

/** 70 symbols in groups, or the text of the code: no passphrase looks like that. */
function looksLikeKit(typed: string): boolean {
  return /^SENDENSE-RECOVERY:/i.test(typed.trim()) || typed.replaceAll(/[\s-]/g, '').length === 70
}
