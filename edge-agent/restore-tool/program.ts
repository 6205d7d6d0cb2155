import process from 'node:process'
import { toPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { Command } from 'commander'
import { EXIT_INTERRUPTED } from '../cli/serve-exports.ts'
import { AGENT_VERSION } from '../config.ts'
import { exitCodes } from './exit-codes.ts'
import { registerExtractCommand } from './extract-command.ts'
import { PROGRAM_HELP } from './help-texts.ts'
import { registerListCommand } from './list-command.ts'
import { registerServeCommand } from './serve-command.ts'
import { registerVerifyCommand } from './verify-command.ts'

/** Runs one command line; every error is told on standard error and ends here. */
export async function runRestoreTool(args: readonly string[]): Promise<void> {
  const program = new Command('sendense-restore')
    .description('Restores from a Sendense repository with nothing but the storage and the recovery kit.')
    .version(`sendense-restore ${AGENT_VERSION}`)
    .addHelpText('after', PROGRAM_HELP)
  registerListCommand(program)
  registerVerifyCommand(program)
  registerExtractCommand(program)
  registerServeCommand(program)
  try {
    await program.parseAsync(args, { from: 'user' })
  } catch (error) {
    const known = toPlatformError(error)
    process.stderr.write(`${known.code}: ${known.message}\n${known.advice}\n`)
    process.exitCode = known.code === 'internal.cancelled' ? EXIT_INTERRUPTED : exitCodes.failed
  }
}
