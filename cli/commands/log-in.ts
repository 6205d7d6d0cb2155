import { createInterface } from 'node:readline/promises'
import { Writable } from 'node:stream'
import { LogInInput } from '@sendense/shared/contracts/api/session-api.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Command } from 'commander'
import { z } from 'zod'
import { connectApi } from '../api/api-client.ts'
import type { CliContext, CommandOutcome } from '../cli-context.ts'
import { exitCodes } from '../exit-codes.ts'
import { formatLocalTime } from '../output/local-time.ts'
import { writeSession } from '../session/session-file.ts'
import { print, urlOf, wantsJson } from './command-run.ts'

const Options = z.object({ email: z.string().optional(), passwordStdin: z.boolean().default(false) })
const PASSWORD_MAX_BYTES = 1024

/** Asks for what is missing, and keeps the session for later commands. */
export async function logIn(context: CliContext, command: Command): CommandOutcome {
  const options = Options.parse(command.opts())
  const url = urlOf(context, command)
  const email = options.email ?? (await ask(context, 'E-mail: ', { hidden: false }))
  const password = options.passwordStdin ? await readLine(context) : await ask(context, 'Password: ', { hidden: true })
  const parsed = LogInInput.safeParse({ email: email.trim(), password })
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    throw new PlatformError('input.invalid', `${issue?.path.join('.') ?? 'log-in'}: ${issue?.message ?? 'invalid'}`)
  }
  await using connection = connectApi({ url, signal: context.signal })
  const { session, token } = await connection.api.session.logIn.mutate(parsed.data)
  const { expiresAt } = session
  await writeSession(context.config.sessionPath, { version: 1, url, token, email: session.email, expiresAt })
  print(context, wantsJson(command), session, () =>
    [
      `Logged in at ${url} as ${session.email}, ${session.role} of ${session.msp.name}.`,
      `The session is kept until ${formatLocalTime(expiresAt)}.`,
    ].join('\n'),
  )
  return exitCodes.ok
}

/** Prompts go to stderr, so that stdout holds nothing but the result. */
async function ask(context: CliContext, prompt: string, { hidden }: { hidden: boolean }): Promise<string> {
  if (!context.stdin.isTTY) {
    throw new PlatformError(
      'input.invalid',
      `no terminal to ask for ${prompt.replace(': ', '')}: use --email and --password-stdin`,
    )
  }
  const echo = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      if (!hidden) context.stderr.write(chunk.toString())
      done()
    },
  })
  const reader = createInterface({ input: context.stdin, output: echo, terminal: true })
  try {
    if (hidden) context.stderr.write(prompt)
    return await reader.question(hidden ? '' : prompt, { signal: context.signal })
  } finally {
    reader.close()
    if (hidden) context.stderr.write('\n')
  }
}

async function readLine(context: CliContext): Promise<string> {
  const chunks: Buffer[] = []
  let sizeBytes = 0
  for await (const chunk of context.stdin) {
    const bytes = Buffer.from(chunk as Buffer | string)
    sizeBytes += bytes.length
    if (sizeBytes > PASSWORD_MAX_BYTES) throw new PlatformError('input.invalid', 'the password on stdin is too long')
    chunks.push(bytes)
  }
  return Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\r?\n$/, '')
}
