import { readFile } from 'node:fs/promises'

const LINES = 25

/** The last lines of a log, for people; a sentence when there is none. Lines before `fromByte` are left out. */
export async function tailOfFile(file: string, fromByte = 0): Promise<string> {
  const bytes = await readFile(file).catch(() => new Uint8Array())
  const text = Buffer.from(bytes.subarray(fromByte)).toString('utf8')
  const tail = text.trimEnd().split('\n').slice(-LINES).join('\n')
  return tail === '' ? '(nothing was logged)' : tail
}
