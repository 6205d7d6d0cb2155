import { readFile } from 'node:fs/promises'
import process from 'node:process'
import { createInterface } from 'node:readline/promises'
import { Writable } from 'node:stream'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

/**
 * A passphrase from the first line of a file, or typed without being shown. Never from an argument: those are seen by
 * everybody on the machine. Rejects with `input.invalid` where nobody can type.
 */
export async function readPassphrase(file: string | undefined): Promise<string> {
  if (file !== undefined) return (await readFile(file, 'utf8')).split(/\r?\n/, 1)[0] ?? ''
  if (!process.stdin.isTTY) {
    throw new PlatformError('input.invalid', 'nobody can type a passphrase here: name a file with --passphrase-file')
  }
  process.stderr.write('Passphrase: ')
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({ input: process.stdin, output: silent, terminal: true })
  try {
    return await lines.question('')
  } finally {
    lines.close()
    process.stderr.write('\n')
  }
}
