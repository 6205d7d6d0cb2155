import { encodeQR } from 'qr'
import type { RecoveryKit } from './recovery-kit.ts'

/** A scratch or a fold must not matter. */
const QR_OPTIONS = { ecc: 'quartile', encoding: 'alphanumeric' } as const

/** The kit's QR code as an SVG document. */
export function recoveryKitSvg(kit: RecoveryKit): string {
  return encodeQR(kit.toQrPayload(), 'svg', QR_OPTIONS)
}

/** The kit's QR code for a terminal, in block characters. */
export function recoveryKitTerminalCode(kit: RecoveryKit): string {
  return encodeQR(kit.toQrPayload(), 'term', QR_OPTIONS)
}

/** What goes to a printer or a terminal; ends with a line break. */
export function recoveryKitSheet(kit: RecoveryKit, label: string, createdAt: Date): string {
  const groups = kit
    .toText()
    .split('\n')
    .map((row) => `    ${row}`)
  return [
    'SENDENSE RECOVERY KIT',
    '',
    `Repository  ${kit.repositoryId}`,
    `For         ${label}`,
    `Made        ${createdAt.toISOString().slice(0, 10)}`,
    '',
    ...groups,
    '',
    'Whoever has this sheet and the storage can read all backups in it. Without',
    'it, and without passphrase and agent, nobody can: not even Sendense.',
    'Keep it where neither the backups nor the passphrase are. There are no letters',
    'O, I, L and U in it. The last character of each group checks the group.',
    '',
  ].join('\n')
}
