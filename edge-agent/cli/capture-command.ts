import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import process from 'node:process'
import { text } from 'node:stream/consumers'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { askStatus } from '../capture/ask-status.ts'
import { type CaptureIdentity, enrol, readIdentity } from '../capture/capture-identity.ts'
import type { CaptureStatus } from '../capture/capture-protocol.ts'
import { runCapture } from '../capture/run-capture.ts'
import { AGENT_VERSION } from '../config.ts'
import { captureHelp, enrolHelp, runHelp, statusHelp } from './capture-help.ts'

const STATE_DIR = '/var/lib/sendense-capture'
const ENROL_TIMEOUT_MS = 60_000
const STATUS_TIMEOUT_MS = 10_000
/** Longer than a guest's file systems take to be thawed. */
const STOP_TIMEOUT_MS = 30_000
const TUNNELS_MAX = 16
const EXIT_NOT_RUNNING = 3
const EXIT_NOT_CONNECTED = 4

interface StateOptions {
  readonly stateDir: string
  readonly json?: boolean
}

interface RunOptions extends StateOptions {
  readonly kvmRoot: string
  readonly kvmRuntimeDir: string
  readonly tunnels: number
  readonly logLevel: string
}

/** Adds `capture enrol|run|status`: the capture agent of a KVM host, which the edge agent reaches through its tunnel. */
export function registerCaptureCommands(program: Command): void {
  const capture = program
    .command('capture')
    .description('speak for this KVM host: an edge agent elsewhere backs up its VMs and restores them')
    .addHelpText('after', captureHelp)
  onState(capture.command('enrol'))
    .description('make a key and have the edge agent take it')
    .requiredOption(
      '--token <token>',
      'from capture-token create on the edge agent; - reads it from standard input, @FILE from a file',
    )
    .option('--replace', 'leave the edge agent that this capture agent belongs to now')
    .option('--json', 'print JSON')
    .addHelpText('after', enrolHelp)
    .action(enrolHere)
  onState(capture.command('run'))
    .description('speak for the host, in the foreground, until SIGTERM')
    .requiredOption('--kvm-root <dir>', 'directory of the VMs, as of kvm create')
    .requiredOption('--kvm-runtime-dir <dir>', 'directory of the VMs’ sockets, as of kvm create')
    .option(
      '--tunnels <count>',
      'SSH connections side by side; more than one where one core is the limit',
      parseTunnels,
      1,
    )
    .addOption(
      new Option('--log-level <level>', 'how much is told').choices(['debug', 'info', 'warn', 'error']).default('info'),
    )
    .addHelpText('after', runHelp)
    .action(runHere)
  onState(capture.command('status'))
    .description('whether it runs and is connected, and what leads where now')
    .option('--json', 'print JSON')
    .addHelpText('after', statusHelp)
    .action(showStatus)
}

function onState(command: Command): Command {
  return command.option('--state-dir <dir>', 'identity and sockets of the capture agent; a short path', STATE_DIR)
}

async function enrolHere({
  token,
  replace = false,
  ...options
}: StateOptions & { readonly token: string; readonly replace?: boolean }): Promise<void> {
  const signal = AbortSignal.timeout(ENROL_TIMEOUT_MS)
  const identity = await enrol(resolve(options.stateDir), { token: await readToken(token), replace, signal })
  const facts = publicFacts(identity)
  const sentence = `enrolled as ${facts.name} with the edge agent at ${facts.edgeAgent}; ${facts.ports} ports`
  process.stdout.write(`${options.json === true ? JSON.stringify(facts) : sentence}\n`)
}

async function readToken(given: string): Promise<string> {
  if (given === '-') return await text(process.stdin)
  if (!given.startsWith('@')) return given
  try {
    return await readFile(given.slice(1), 'utf8')
  } catch (error) {
    throw new PlatformError('input.invalid', `the token's file ${given.slice(1)} cannot be read`, { cause: error })
  }
}

async function runHere({ kvmRoot, kvmRuntimeDir, stateDir, tunnels, logLevel }: RunOptions): Promise<void> {
  const logger = createLogger('capture-agent', logLevel)
  const end = new AbortController()
  const stop = (name: string): void => {
    if (end.signal.aborted) process.exit(1)
    logger.info({ signal: name }, 'stopping')
    end.abort(new Error(`stopped by ${name}`))
    setTimeout(() => {
      logger.error({}, 'stopping took too long')
      process.exit(1)
    }, STOP_TIMEOUT_MS).unref()
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  await runCapture({
    version: AGENT_VERSION,
    kvm: { rootDir: resolve(kvmRoot), runtimeDir: resolve(kvmRuntimeDir) },
    stateDir: resolve(stateDir),
    tunnels,
    logger,
    signal: end.signal,
  })
}

async function showStatus(options: StateOptions): Promise<void> {
  const stateDir = resolve(options.stateDir)
  const identity = publicFacts(await readIdentity(stateDir))
  const running = await findStatus(stateDir)
  if (running === undefined) process.exitCode = EXIT_NOT_RUNNING
  else if (running.tunnel.state !== 'connected') process.exitCode = EXIT_NOT_CONNECTED
  const lines =
    options.json === true ? [JSON.stringify({ identity, running: running ?? null })] : describe(identity, running)
  process.stdout.write(`${lines.join('\n')}\n`)
}

async function findStatus(stateDir: string): Promise<CaptureStatus | undefined> {
  try {
    return await askStatus(stateDir, { signal: AbortSignal.timeout(STATUS_TIMEOUT_MS) })
  } catch (error) {
    if (isPlatformError(error, 'capture.not_running')) return undefined
    throw error
  }
}

type PublicFacts = ReturnType<typeof publicFacts>

/** All but the key. */
function publicFacts({ captureAgentId, name, host, port, hostKey, ports }: CaptureIdentity) {
  return { captureAgentId, name, edgeAgent: `${host}:${port}`, hostKey, ports: ports.length }
}

function describe(identity: PublicFacts, running: CaptureStatus | undefined): string[] {
  const who = [
    `${identity.name}  ${identity.captureAgentId}`,
    `edge agent ${identity.edgeAgent}  host key ${identity.hostKey}`,
  ]
  if (running === undefined) return [...who, 'does not run']
  const { tunnel, vms, leases, agents } = running
  const error = tunnel.lastError
  return [
    ...who,
    `runs since ${running.startedAt}, version ${running.version}`,
    `tunnel ${tunnel.state}, ${tunnel.tunnels} of ${tunnel.tunnelsWanted} connections; the edge agent ${agents > 0 ? 'is here' : 'is not here'}`,
    ...(error === undefined ? [] : [`last error ${error.at}  ${error.code}: ${error.message}`]),
    `VMs ${vms.listed}, of which ${vms.running} run`,
    ...leases.map(({ port, vmId, service }) => `port ${port} leads to ${service} of ${vmId}`),
  ]
}

function parseTunnels(value: string): number {
  const count = Number(value)
  if (Number.isInteger(count) && count >= 1 && count <= TUNNELS_MAX) return count
  throw new InvalidArgumentError(`must be a whole number from 1 to ${TUNNELS_MAX}`)
}
