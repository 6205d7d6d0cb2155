import { hostname } from 'node:os'
import process from 'node:process'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { newId } from '@sendense/shared/runtime/identifiers.ts'
import { type Command, InvalidArgumentError } from 'commander'
import type { CaptureAgentRecord } from '../catalog/capture-agent-store.ts'
import type { Catalogue } from '../catalog/catalogue.ts'
import type { EdgeAgentConfig } from '../config.ts'
import { CaptureAccess } from '../jobs/capture-access.ts'
import { printEnrolmentToken } from '../tunnel/enrolment-token.ts'
import { openHostKey } from '../tunnel/server/host-key.ts'
import { parseAddress } from './parse-address.ts'
import { withCatalogue } from './with-catalogue.ts'

const PORTS_DEFAULT = 32
const PORTS_MAX = 1024
const NAME_CHARS_MAX = 255

const createHelp = `
The token is printed on standard output and nowhere else. It carries the address of this edge agent, the fingerprint of
its host key and a secret; it lets one key in, once, within 24 hours. On the capture host:

  sendense-edge capture enrol --token TOKEN

--address is how the capture host reaches the tunnel port (SENDENSE_EDGE_TUNNEL_PORT) of this machine; give it where that
is another name or port than this machine's own. --ports is how many services of the capture host can be reached at the
same time: one for its requests, up to three for each VM under backup.

Examples:
  sendense-edge capture-token create --name kvm-7
  sendense-edge capture-token create --name kvm-7 --address backup.example.org:443 > token`

const revokeHelp = `
Its key is not let in any more and its tunnels end within seconds; jobs that run through them fail. What was backed up
stays. To let the host in again, make it a new token.`

interface CreateOptions {
  readonly name: string
  readonly ports: number
  readonly address?: { readonly host: string; readonly port?: number }
  readonly json?: boolean
}

/** Adds `capture-token create` and `capture-agents list|revoke`: who may connect to the tunnel of this edge agent. */
export function registerCaptureAccessCommands(program: Command): void {
  program
    .command('capture-token')
    .description('tokens that let capture agents in')
    .command('create')
    .description('make a token for the capture agent of one host; it works once, for a day')
    .requiredOption('--name <host>', 'what the host is called here', parseName)
    .option('--ports <count>', 'ports it may have forwarded', parsePorts, PORTS_DEFAULT)
    .option('--address <host:port>', 'how it reaches this machine', parseAddress)
    .option('--json', 'print JSON')
    .addHelpText('after', createHelp)
    .action(createToken)
  const agents = program.command('capture-agents').description('capture agents that may connect')
  agents
    .command('list')
    .description('list them, revoked ones too')
    .option('--json', 'print JSON')
    .action(async ({ json = false }: { json?: boolean }) => {
      const found = await withAccess(async ({ access, signal }) => await access.list({ signal }))
      print(json ? JSON.stringify(found, null, 2) : found.map(sentence).join('\n'))
    })
  agents
    .command('revoke <captureAgent>')
    .description('shut one out, by its id or by its name where that is unique')
    .addHelpText('after', revokeHelp)
    .action(revoke)
}

async function createToken({ name, ports, address, json = false }: CreateOptions): Promise<void> {
  const { token, expiresAt } = await withAccess(async ({ access, config, signal }) => {
    const port = address?.port ?? config.tunnel?.port
    if (config.tunnel === undefined || port === undefined) {
      throw new PlatformError('config.invalid', 'this edge agent has no tunnel: SENDENSE_EDGE_TUNNEL_PORT is not set')
    }
    const { fingerprint } = await openHostKey(config.stateDir)
    const where = { host: address?.host ?? hostname(), port, hostKey: fingerprint }
    return await access.createToken({ ...where, name, portCount: ports }, { signal })
  })
  const text = printEnrolmentToken(token)
  const { captureAgentId, host, port } = token
  const facts = {
    token: text,
    captureAgentId,
    name,
    host,
    port,
    ports: token.ports,
    expiresAt: expiresAt.toISOString(),
  }
  print(json ? JSON.stringify(facts, null, 2) : text)
  if (!json) process.stderr.write(`good for one key until ${facts.expiresAt}; the host connects to ${host}:${port}\n`)
}

async function revoke(wanted: string): Promise<void> {
  const { name, captureAgentId } = await withAccess(async ({ access, signal }) => {
    const found = (await access.list({ signal })).filter(
      (each) => each.captureAgentId === wanted || (each.name === wanted && each.revokedAt === undefined),
    )
    const [agent, another] = found
    if (agent === undefined) throw new PlatformError('resource.not_found', `there is no capture agent ${wanted}`)
    if (another !== undefined) {
      throw new PlatformError(
        'input.invalid',
        `${found.length} capture agents are called ${wanted}: name one by its id`,
      )
    }
    await access.revoke(agent.captureAgentId, { signal })
    return agent
  })
  print(`${name} (${captureAgentId}) is not let in any more`)
}

async function withAccess<T>(
  work: (parts: {
    access: CaptureAccess
    catalogue: Catalogue
    config: EdgeAgentConfig
    signal: AbortSignal
  }) => Promise<T>,
): Promise<T> {
  return await withCatalogue(async ({ catalogue, config, signal }) => {
    const access = new CaptureAccess({ catalogue, clock: systemClock, newId })
    return await work({ access, catalogue, config, signal })
  })
}

function sentence({ name, captureAgentId, keyFingerprint, ports, enrolledAt, revokedAt }: CaptureAgentRecord): string {
  const state = revokedAt === undefined ? `since ${enrolledAt.toISOString()}` : `revoked ${revokedAt.toISOString()}`
  return `${name}  ${state}  ${captureAgentId}  ${keyFingerprint}  ${ports.length} ports`
}

function print(text: string): void {
  if (text !== '') process.stdout.write(`${text}\n`)
}

function parseName(text: string): string {
  if (text.trim() !== '' && text.length <= NAME_CHARS_MAX) return text.trim()
  throw new InvalidArgumentError(`1 to ${NAME_CHARS_MAX} characters`)
}

function parsePorts(text: string): number {
  const count = Number(text)
  if (Number.isInteger(count) && count >= 2 && count <= PORTS_MAX) return count
  throw new InvalidArgumentError(`a number from 2 to ${PORTS_MAX}`)
}
