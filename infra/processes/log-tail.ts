import { readFile } from 'node:fs/promises'

/** The last lines of a log, for people; a sentence when there is none. */
export async function tailOfFile(file: string, lines = 25): Promise<string> {
  const text = await readFile(file, 'utf8').catch(() => '')
  const tail = text.trimEnd().split('\n').slice(-lines).join('\n')
  return tail === '' ? '(nothing was logged)' : tail
}
