import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Command } from 'commander'
import { reportOf } from '../api/error-report.ts'
import type { CliContext, CommandOutcome } from '../cli-context.ts'
import { exitCodes } from '../exit-codes.ts'
import { formatLocalTime } from '../output/local-time.ts'
import { formatFacts } from '../output/table.ts'
import { deleteSession } from '../session/session-file.ts'
import { openRun, print, wantsJson } from './command-run.ts'

/** Ends the session in the cloud and forgets it here. The file goes even when the cloud does not answer. */
export async function logOut(context: CliContext, command: Command): CommandOutcome {
  try {
    await using run = await openRun(context, command)
    try {
      await run.api.session.logOut.mutate()
    } catch (error) {
      // A session that is over is what was wanted.
      if (reportOf(error, run.url).code !== 'identity.session_required') throw error
    }
  } catch (error) {
    if (!isPlatformError(error, 'identity.session_required')) throw error
  } finally {
    await deleteSession(context.config.sessionPath)
  }
  print(context, wantsJson(command), null, () => 'Logged out.')
  return exitCodes.ok
}

export async function whoAmI(context: CliContext, command: Command): CommandOutcome {
  await using run = await openRun(context, command)
  const session = await run.api.session.current.query()
  run.print(session, () =>
    formatFacts([
      ['portal', run.url],
      ['e-mail', session.email],
      ['name', session.displayName],
      ['msp', session.msp.name],
      ['role', session.role],
      ['session until', formatLocalTime(session.expiresAt)],
    ]),
  )
  return exitCodes.ok
}
