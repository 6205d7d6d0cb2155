import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { inspect } from 'node:util'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { keyPurposes } from '../format/hkdf.ts'
import { isUuid } from '../format/identity-bytes.ts'
import type { Recipient } from '../format/key-file.ts'
import { deriveKeyPair } from './hpke.ts'
import type { KeySources } from './key-ring.ts'
import {
  checkSymbol,
  fromSymbols,
  GROUP_DATA,
  GROUP_SYMBOLS,
  parseSymbol,
  symbolText,
  toSymbols,
} from './kit-symbols.ts'
import { recipientOf, type RecipientSecret } from './recipients.ts'

const SECRET_BYTES = 32
const SECRET_SYMBOLS = 52
const CHECKSUM_SYMBOLS = GROUP_DATA
const GROUPS = (SECRET_SYMBOLS + CHECKSUM_SYMBOLS) / GROUP_DATA
const GROUPS_A_ROW = 5
const QR_HEAD = 'SENDENSE-RECOVERY'
const QR_VERSION = '1'

/**
 * 256 random bits on paper that open one repository. Printing the object or making JSON of it does not show them:
 * only `toText` and `toQrPayload` do.
 */
export class RecoveryKit implements Disposable {
  readonly repositoryId: string
  readonly #secret: Uint8Array

  /** @param secret 32 bytes; kept, and erased when the kit is disposed of */
  constructor(repositoryId: string, secret: Uint8Array) {
    assert.equal(secret.length, SECRET_BYTES)
    this.repositoryId = repositoryId
    this.#secret = secret
  }

  static generate(repositoryId: string, sources: Pick<KeySources, 'randomBytes'>): RecoveryKit {
    return new RecoveryKit(repositoryId, Uint8Array.from(sources.randomBytes(SECRET_BYTES)))
  }

  /**
   * Reads a kit as people type it or a camera reads it: groups of `toText`, in any case, with or without spaces and
   * dashes, O for 0 and I or L for 1; or the text of `toQrPayload`.
   * Throws `input.invalid` that says which group is mistyped, or that the kit is another repository's; messages hold
   * nothing of the kit.
   */
  static parse(text: string, repositoryId: string): RecoveryKit {
    const trimmed = text.trim()
    const isQr = trimmed.toUpperCase().startsWith(QR_HEAD)
    const { secret, checksum } = isQr ? parseQr(trimmed, repositoryId) : parseGroups(trimmed)
    const bytes = fromSymbols(secret)
    if (bytes === undefined || bytes.length !== SECRET_BYTES) throw mistyped('it is not what a kit can be')
    if (symbolText(checksumOf(repositoryId, bytes)) !== symbolText(checksum)) {
      throw mistyped(`it is not of repository ${repositoryId}, or two of its groups are mistyped`)
    }
    return new RecoveryKit(repositoryId, bytes)
  }

  /** Throws `input.invalid`. */
  recipient(recipientId: string, label: string, sources: KeySources): Recipient {
    return recipientOf('recovery', deriveKeyPair(this.#secret), { recipientId, label, createdAt: sources.now() })
  }

  /** Valid until the kit is disposed of. */
  get recipientSecret(): RecipientSecret {
    return { kind: 'recovery', secret: this.#secret }
  }

  /** 14 groups of five symbols in rows of five; the last symbol of each group is its check digit. */
  toText(): string {
    const groups = this.#groups()
    const rows: string[] = []
    for (let at = 0; at < groups.length; at += GROUPS_A_ROW) rows.push(groups.slice(at, at + GROUPS_A_ROW).join(' '))
    return rows.join('\n')
  }

  /** Only characters that QR codes pack tightly. */
  toQrPayload(): string {
    const secret = symbolText(toSymbols(this.#secret))
    const checksum = symbolText(checksumOf(this.repositoryId, this.#secret))
    return [QR_HEAD, QR_VERSION, this.repositoryId.toUpperCase(), secret, checksum].join(':')
  }

  #groups(): string[] {
    const symbols = [...toSymbols(this.#secret), ...checksumOf(this.repositoryId, this.#secret)]
    return Array.from({ length: GROUPS }, (_, index) => {
      const data = symbols.slice(index * GROUP_DATA, (index + 1) * GROUP_DATA)
      return symbolText([...data, checkSymbol(data, index)])
    })
  }

  [Symbol.dispose](): void {
    this.#secret.fill(0)
  }

  toJSON(): object {
    return { repositoryId: this.repositoryId, secret: 'not shown' }
  }

  [inspect.custom](): string {
    return `RecoveryKit of repository ${this.repositoryId} (secret not shown)`
  }
}

interface KitSymbols {
  readonly secret: readonly number[]
  readonly checksum: readonly number[]
}

/** 20 bits that bind the secret to its repository. */
function checksumOf(repositoryId: string, secret: Uint8Array): number[] {
  const hash = createHash('sha256').update(`${keyPurposes.recoveryKit} ${repositoryId} `).update(secret).digest()
  return toSymbols(hash).slice(0, CHECKSUM_SYMBOLS)
}

function parseGroups(text: string): KitSymbols {
  const given = text.split(/[\s-]+/)
  const joined = given.join('')
  if (joined.length !== GROUPS * GROUP_SYMBOLS) {
    const odd = given.findIndex((group) => group.length !== GROUP_SYMBOLS)
    const where = given.length === GROUPS && odd !== -1 ? `: look at group ${odd + 1}` : ''
    throw mistyped(`it has ${joined.length} characters, not ${GROUPS * GROUP_SYMBOLS}${where}`)
  }
  const data: number[] = []
  const wrong: number[] = []
  for (let index = 0; index < GROUPS; index += 1) {
    const symbols = parseSymbols(joined.slice(index * GROUP_SYMBOLS, (index + 1) * GROUP_SYMBOLS))
    const group = symbols?.slice(0, GROUP_DATA)
    if (group === undefined || symbols?.at(-1) !== checkSymbol(group, index)) wrong.push(index + 1)
    else data.push(...group)
  }
  if (wrong.length > 0) throw mistyped(`look at group ${wrong.join(', ')}`)
  return { secret: data.slice(0, SECRET_SYMBOLS), checksum: data.slice(SECRET_SYMBOLS) }
}

function parseQr(text: string, repositoryId: string): KitSymbols {
  const [head, version, kitRepositoryId, secretText, checksumText, ...rest] = text.split(':')
  const isOurs = head?.toUpperCase() === QR_HEAD && rest.length === 0
  if (!isOurs || kitRepositoryId === undefined || !isUuid(kitRepositoryId.toLowerCase())) {
    throw mistyped('it is no code of a recovery kit')
  }
  if (version !== QR_VERSION) throw mistyped(`it is of version ${version?.slice(0, 10)}: upgrade to read it`)
  if (kitRepositoryId.toLowerCase() !== repositoryId) {
    throw mistyped(`it is of repository ${kitRepositoryId.toLowerCase()}, not ${repositoryId}`)
  }
  const secret = parseSymbols(secretText ?? '')
  const checksum = parseSymbols(checksumText ?? '')
  if (secret?.length !== SECRET_SYMBOLS || checksum?.length !== CHECKSUM_SYMBOLS) throw mistyped('it is cut short')
  return { secret, checksum }
}

function parseSymbols(text: string): number[] | undefined {
  const symbols = Array.from(text, (character) => parseSymbol(character))
  return symbols.every((symbol) => symbol !== undefined) ? symbols : undefined
}

function mistyped(why: string): PlatformError {
  return new PlatformError('input.invalid', `the recovery kit cannot be read: ${why}`)
}
