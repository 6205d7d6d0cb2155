import { inspect } from 'node:util'
import fc from 'fast-check'
import { encodeQR } from 'qr'
import { decodeQR } from 'qr/decode.js'
import { describe, expect, test } from 'vitest'
import { fixedRandomness, OTHER_ID, REPOSITORY_ID } from '../format/test-repository.ts'
import { recoveryKitSheet, recoveryKitSvg, recoveryKitTerminalCode } from './recovery-kit-print.ts'
import { RecoveryKit } from './recovery-kit.ts'

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const anySecret = fc.uint8Array({ minLength: 32, maxLength: 32 })
const kit = RecoveryKit.generate(REPOSITORY_ID, { randomBytes: fixedRandomness(5) })
const refused = expect.objectContaining({ code: 'input.invalid' }) as Error

function secretOf(read: RecoveryKit): Uint8Array {
  const secret = read.recipientSecret
  if (secret.kind !== 'recovery') throw new TypeError(secret.kind)
  return Uint8Array.from(secret.secret)
}

describe('a recovery kit', () => {
  test('is read back from paper and from its code, however it is typed', () => {
    fc.assert(
      fc.property(
        anySecret,
        fc.constantFrom(' ', '', '-', '\n', ' - ', '  '),
        fc.boolean(),
        (secret, between, lower) => {
          const printed = new RecoveryKit(REPOSITORY_ID, secret)
          const groups = printed.toText().split(/\s/)
          const typed = groups
            .join(between)
            .replaceAll('0', 'O')
            .replaceAll('1', lower ? 'l' : 'I')
          for (const text of [printed.toText(), lower ? typed.toLowerCase() : typed, printed.toQrPayload()]) {
            expect(secretOf(RecoveryKit.parse(` ${text}\n`, REPOSITORY_ID))).toEqual(secret)
          }
          expect(secretOf(RecoveryKit.parse(printed.toQrPayload().toLowerCase(), REPOSITORY_ID))).toEqual(secret)
        },
      ),
    )
  })

  test('with any one character wrong names the group', () => {
    const text = kit.toText()
    const groups = text.split(/\s/)
    expect(groups).toHaveLength(14)
    for (const [group, content] of groups.entries()) {
      for (let at = 0; at < content.length; at += 1) {
        for (const character of ALPHABET.replace(content.charAt(at), '')) {
          const typed = content.slice(0, at) + character + content.slice(at + 1)
          expect(() => RecoveryKit.parse(groups.with(group, typed).join(' '), REPOSITORY_ID)).toThrow(
            `look at group ${group + 1}`,
          )
        }
      }
    }
  })

  test('with any two characters exchanged, or two groups, is refused', () => {
    const characters = kit.toText().replaceAll(/\s/g, '').split('')
    for (let left = 0; left < characters.length; left += 1) {
      for (let right = left + 1; right < characters.length; right += 1) {
        const [first = '', second = ''] = [characters[left], characters[right]]
        if (first === second) continue
        const typed = characters.with(left, second).with(right, first).join('')
        expect(() => RecoveryKit.parse(typed, REPOSITORY_ID)).toThrow(refused)
      }
    }
    const groups = kit.toText().split(/\s/)
    for (let left = 0; left < groups.length; left += 1) {
      for (let right = left + 1; right < groups.length; right += 1) {
        const typed = groups.with(left, groups[right] ?? '').with(right, groups[left] ?? '')
        expect(() => RecoveryKit.parse(typed.join(' '), REPOSITORY_ID)).toThrow(refused)
      }
    }
  })

  test('that is cut short, of another repository, or no kit at all is refused', () => {
    const text = kit.toText()
    const payload = kit.toQrPayload()
    const wrong = ['', 'x', text.slice(1), `${text}A`, text.replace(/.$/, '%'), payload.slice(0, -1), `${payload}:`]
    const others = [payload.replace(':1:', ':2:'), payload.replace('SENDENSE', 'SENDENCE'), 'SENDENSE-RECOVERY:1']
    for (const typed of [...wrong, ...others]) {
      expect(() => RecoveryKit.parse(typed, REPOSITORY_ID)).toThrow(refused)
    }
    expect(() => RecoveryKit.parse(text, OTHER_ID)).toThrow(`not of repository ${OTHER_ID}`)
    expect(() => RecoveryKit.parse(payload, OTHER_ID)).toThrow(`of repository ${REPOSITORY_ID}`)
  })

  test('tells its secret only where it is asked to', () => {
    const shown = [inspect(kit, { depth: 9, showHidden: true }), JSON.stringify({ kit })].join('\n')
    const hidden = [Buffer.from(secretOf(kit)).toString('hex'), kit.toText().slice(0, 5), kit.toQrPayload().slice(-20)]
    for (const secret of hidden) expect(shown).not.toContain(secret)
    let message = ''
    try {
      RecoveryKit.parse(kit.toText().slice(0, -1), REPOSITORY_ID)
    } catch (error) {
      message = inspect(error)
    }
    expect(message).toContain('input.invalid')
    for (const secret of hidden) expect(message).not.toContain(secret)
  })

  test('is on its sheet; its code is read by a reader of QR codes', () => {
    const sheet = recoveryKitSheet(kit, 'Example customer', new Date('2026-11-25T10:00:00Z'))
    for (const row of [...kit.toText().split('\n'), REPOSITORY_ID, 'Example customer', '2026-11-25']) {
      expect(sheet).toContain(row)
    }
    expect(recoveryKitSvg(kit)).toMatch(/^<svg[\s\S]*<\/svg>\s*$/)
    expect(recoveryKitTerminalCode(kit).split('\n').length).toBeGreaterThan(20)
    const options = { ecc: 'quartile', encoding: 'alphanumeric', border: 4, scale: 4 } as const
    const pixels = encodeQR(kit.toQrPayload(), 'raw', options)
    const data = Uint8Array.from(pixels.flatMap((row) => row.flatMap((dark) => (dark ? [0, 0, 0] : [255, 255, 255]))))
    expect(decodeQR({ width: pixels.length, height: pixels.length, data })).toBe(kit.toQrPayload())
  })
})
