import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import type { CommandPayload } from '@sendense/shared/contracts/agent-command.ts'
import { payloadTypes, SignedEnvelope } from '@sendense/shared/contracts/signed-envelope.ts'
import { topics } from '@sendense/shared/contracts/topics.ts'
import { importSigningKey, signEnvelope } from '@sendense/shared/runtime/signing.ts'
import mqtt from 'mqtt'
import type { TestStack } from '../harness/test-stack.ts'

/** Somebody who holds the cloud's place at the broker, with the cloud's own files. */
export interface BrokerPeer extends AsyncDisposable {
  /** A command signed as the cloud signs. */
  sign(payload: CommandPayload): Promise<SignedEnvelope>
  /** Resolves when the broker has it. */
  publish(agentId: string, message: unknown): Promise<void>
}

export async function connectBrokerPeer({ stack }: TestStack): Promise<BrokerPeer> {
  const { keysDir } = stack.paths
  const read = async (name: string): Promise<string> => await readFile(path.join(keysDir, name), 'utf8')
  const client = await mqtt.connectAsync(`mqtts://127.0.0.1:${stack.settings.ports.broker}`, {
    protocolVersion: 5,
    clientId: `test-peer-${process.pid}`,
    ca: await read('fleet-ca.crt'),
    cert: await read('cloud-mqtt.crt'),
    key: await read('cloud-mqtt.key'),
    reconnectPeriod: 0,
  })
  const key = importSigningKey(await read('command-online.pem'))
  const delegation = SignedEnvelope.shape.delegation.parse(JSON.parse(await read('delegation.json')))
  return {
    sign: async (payload) => signEnvelope(payloadTypes.cloudMessage, payload, key, delegation),
    publish: async (agentId, message) => {
      await client.publishAsync(topics.commands(agentId), JSON.stringify(message), { qos: 1 })
    },
    [Symbol.asyncDispose]: async () => await client.endAsync(),
  }
}

/** An order for a backup of the demo VM, as the cloud would write it. */
export async function backupOrder(
  { owner, vm, stack }: TestStack,
  sequence: number,
  changes: Partial<CommandPayload> = {},
): Promise<CommandPayload> {
  const [repository] = await owner.api.repository.list.query()
  if (repository === undefined) throw new Error('the agent has a repository')
  const now = Date.now()
  return {
    kind: 'command',
    version: 1,
    commandId: randomUUID(),
    agentId: vm.agentId,
    tenantId: stack.site.customerId,
    sequence,
    class: 'operate',
    issuedAt: new Date(now - 60_000).toISOString(),
    notBefore: new Date(now - 60_000).toISOString(),
    expiresAt: new Date(now + 60_000).toISOString(),
    command: {
      type: 'backup-vm',
      jobId: randomUUID(),
      vmId: vm.vmId,
      repositoryId: repository.repositoryId,
      mode: 'auto',
      quiesce: false,
    },
    ...changes,
  }
}

/** The same message with one letter of its order changed after it was signed. */
export function tampered(message: SignedEnvelope): SignedEnvelope {
  const bytes = Buffer.from(message.payload, 'base64')
  bytes.write('f', bytes.indexOf('"auto"') + 1)
  return { ...message, payload: bytes.toString('base64') }
}
