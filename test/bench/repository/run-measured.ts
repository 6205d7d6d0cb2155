import { spawn } from 'node:child_process'
import { once } from 'node:events'
import process from 'node:process'
import { measureUsage, type Usage } from '../resource-usage.ts'

const ERROR_TAIL_BYTES = 4096

export interface ProgramSettings {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
}

/** Runs a program to its end and tells what it took. Rejects, with the last of its error output, when it does not end well. */
export async function runMeasured(
  command: string,
  args: readonly string[],
  { env = {}, cwd }: ProgramSettings = {},
): Promise<Usage> {
  return await measureUsage(async () => {
    const place = cwd === undefined ? {} : { cwd }
    const child = spawn(command, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...env },
      ...place,
    })
    let errors = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors = (errors + text).slice(-ERROR_TAIL_BYTES)
    })
    const [code] = await once(child, 'close')
    if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${String(code)}: ${errors}`)
  }, {})
}
