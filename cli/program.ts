import { Command, CommanderError } from 'commander'
import { reportOf } from './api/error-report.ts'
import type { CliContext, CommandOutcome } from './cli-context.ts'
import { acknowledgeAlerts, listAlerts } from './commands/alert-commands.ts'
import { urlOf } from './commands/command-run.ts'
import { backUp, cancel, restore, verify } from './commands/job-commands.ts'
import {
  listAgents,
  listJobs,
  listRepositories,
  listRestorePoints,
  listSites,
  listVms,
} from './commands/list-commands.ts'
import { logIn } from './commands/log-in.ts'
import { logOut, whoAmI } from './commands/session-commands.ts'
import { showJob, showVm } from './commands/show-commands.ts'
import { watch } from './commands/watch.ts'
import { exitCodeHelp, exitCodeOf, exitCodes } from './exit-codes.ts'
import { examples, programExamples } from './help-examples.ts'
import { printable } from './output/printable.ts'

/** Runs one command line. Resolves with its exit code; every error is told on stderr and ends here. */
export async function runCommandLine(args: readonly string[], context: CliContext): Promise<number> {
  const outcome: Outcome = { exitCode: exitCodes.ok, failedCommand: undefined }
  const program = buildProgram(context, outcome)
  try {
    await program.parseAsync(args, { from: 'user' })
    return outcome.exitCode
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage
    if (context.signal.aborted) return exitCodes.interrupted
    return tell(context, error, outcome.failedCommand ?? program)
  }
}

interface Outcome {
  exitCode: number
  failedCommand: Command | undefined
}

function tell(context: CliContext, error: unknown, command: Command): number {
  const report = reportOf(error, safeUrl(context, command))
  context.stderr.write(`${printable(`error: ${report.message}\ncode: ${report.code}\nadvice: ${report.advice}`)}\n`)
  return exitCodeOf(report)
}

function safeUrl(context: CliContext, command: Command): string {
  try {
    return urlOf(context, command)
  } catch {
    return 'the cloud'
  }
}

function buildProgram(context: CliContext, outcome: Outcome): Command {
  const program = new Command('sendense')
    .description('Back up, restore and verify virtual machines with Sendense.')
    .option('--json', 'print the result as JSON, for scripts')
    .option('--url <origin>', 'address of the portal (default: SENDENSE_URL, then the one logged in at)')
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      writeErr: (text) => context.stderr.write(text),
      getOutHelpWidth: () => context.stdout.columns ?? 100,
      getErrHelpWidth: () => context.stderr.columns ?? 100,
    })
    .exitOverride()
    .showHelpAfterError('(sendense --help lists all commands)')
    .addHelpText('after', `\n${programExamples}\n\n${exitCodeHelp}`)
  // The options of a command are not those of its sub-commands.
  const globalOptions = (command: Command) => (command === program ? [] : [...program.options])
  program.configureHelp({ showGlobalOptions: true, visibleGlobalOptions: globalOptions })
  const addTo = (parent: Command) => (usage: string, description: string, run: Run) =>
    addCommand(parent, outcome, usage, description, run)
  const add = addTo(program)
  addSessionCommands(add, context)
  addListCommands(add, context)
  addAlertCommands(add, addTo, context)
  addJobCommands(add, context)
  return program
}

type Run = (command: Command, argument: string) => CommandOutcome
type Add = (usage: string, description: string, run: Run) => Command

function addCommand(parent: Command, outcome: Outcome, usage: string, description: string, run: Run): Command {
  const command = parent.command(usage).description(description)
  const text = examples[command.name()]
  if (text !== undefined) command.addHelpText('after', `\n${text}`)
  // Commander passes the arguments, then the options, then the command.
  return command.action(async (argument: unknown) => {
    outcome.failedCommand = command
    outcome.exitCode = await run(command, typeof argument === 'string' ? argument : '')
  })
}

function addSessionCommands(add: Add, context: CliContext): void {
  add('login', 'log in and keep the session', (command) => logIn(context, command))
    .option('--email <address>', 'who logs in; asked for when absent')
    .option('--password-stdin', 'read the password from standard input instead of asking')
  add('logout', 'end the session and forget it', (command) => logOut(context, command))
  add('whoami', 'show who is logged in, where, and as what', (command) => whoAmI(context, command))
}

function addListCommands(add: Add, context: CliContext): void {
  add('sites', 'list sites', (command) => listSites(context, command))
  add('agents', 'list edge agents and whether they are online', (command) => listAgents(context, command))
  add('vms', 'list virtual machines', (command) => listVms(context, command))
  add('vm <vm>', 'show one virtual machine, by name or id', (command, vm) => showVm(context, command, vm))
  add('repositories', 'list repositories', (command) => listRepositories(context, command))
  add('restore-points', 'list restore points, newest first', (command) => listRestorePoints(context, command)).option(
    '--vm <vm>',
    'only of this VM, by name or id',
  )
  add('jobs', 'list jobs, newest first', (command) => listJobs(context, command))
    .option('--vm <vm>', 'only of this VM, by name or id')
    .option('--state <states>', 'only in these states, separated by commas')
    .option('--limit <count>', 'at most so many')
  add('job <job>', 'show one job with its log', (command, job) => showJob(context, command, job))
}

function addAlertCommands(add: Add, addTo: (parent: Command) => Add, context: CliContext): void {
  const alerts = add('alerts', 'list what a person should look at, newest first', (command) =>
    listAlerts(context, command),
  )
    .option('--all', 'acknowledged ones too')
    .option('--severity <severities>', 'only of these severities, separated by commas')
    .option('--site <site>', 'only of this site, by name or id')
    .option('--agent <agent>', 'only of this agent, by host name or id')
    .option('--limit <count>', 'at most so many (default: 100)')
  addTo(alerts)('acknowledge <alert...>', 'say that somebody has looked at these alerts', (command) =>
    acknowledgeAlerts(context, command),
  )
}

function addJobCommands(add: Add, context: CliContext): void {
  const wait = ['--wait', 'show progress and end with the job; exit code 1 when it fails'] as const
  add('backup <vm>', 'back up a virtual machine now', (command, vm) => backUp(context, command, vm))
    .option('--full', 'read everything, even where an incremental is possible')
    .option('--no-quiesce', 'do not freeze file systems through the guest agent')
    .option(...wait)
  add('restore <restore-point>', 'make a new virtual machine from a restore point', (command, point) =>
    restore(context, command, point),
  )
    .requiredOption('--name <name>', 'name of the new VM')
    .option('--vm <vm>', 'with "latest": take the newest restore point of this VM')
    .option('--no-start', 'do not boot it')
    .option(...wait)
  add('verify <restore-point>', 'read a restore point back and check every byte', (command, point) =>
    verify(context, command, point),
  )
    .option('--vm <vm>', 'with "latest": take the newest restore point of this VM')
    .option(...wait)
  add('cancel <job>', 'cancel a job', (command, job) => cancel(context, command, job))
  add('watch [job]', 'show what happens as it happens: one job until it ends, or everything', (command, job) =>
    watch(context, command, job === '' ? undefined : job),
  )
}
