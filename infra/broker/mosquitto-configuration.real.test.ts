import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { connect, type TLSSocket } from 'node:tls'
import { promisify } from 'node:util'
import { InventoryReport } from '@sendense/shared/contracts/inventory.ts'
import { topics } from '@sendense/shared/contracts/topics.ts'
import { expect, test } from 'vitest'
import { mosquittoConfiguration } from './mosquitto-configuration.ts'

const CLOUD_COMMANDS = path.join(import.meta.dirname, '../../cloud/cli/main.ts')
const AGENT_ID = '0190b3a0-0000-7000-8000-000000000001'
const CONNECT_WITHIN_MS = 10_000

test('the inventory of the largest host goes through, and what is larger than any is refused', async () => {
  await using stack = new AsyncDisposableStack()
  const dataDir = await mkdtemp(path.join(tmpdir(), 'sendense-broker-'))
  stack.defer(() => rm(dataDir, { recursive: true, force: true }))
  const keysDir = path.join(dataDir, 'keys')
  const hosts = ['--broker-host', 'localhost']
  await promisify(execFile)(process.execPath, [CLOUD_COMMANDS, 'init-keys', '--dir', keysDir, ...hosts])
  const port = await freePort()
  const file = path.join(dataDir, 'mosquitto.conf')
  await writeFile(file, mosquittoConfiguration({ port, keysDir, dataDir, user: userInfo().username }))
  const broker = spawn('mosquitto', ['-c', file], {
    stdio: 'ignore',
    env: { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin` },
  })
  stack.defer(async () => {
    broker.kill('SIGTERM')
    if (broker.exitCode === null) await once(broker, 'exit')
  })
  const inventory = Buffer.from(JSON.stringify(largestInventory()))
  expect(inventory.byteLength).toBeGreaterThan(1024 * 1024)
  // An envelope carries its payload in base64.
  expect(await publish(port, keysDir, Buffer.from(inventory.toString('base64')))).toBe('taken')
  expect(await publish(port, keysDir, Buffer.alloc(17 * 1024 * 1024, 'x'))).toBe('refused')
})

function largestInventory(): InventoryReport {
  const takenAt = new Date(0).toISOString()
  const disks = Array.from({ length: 8 }, (_, index) => ({
    diskId: `disk${index}`,
    sizeBytes: 2 ** 41,
    changeTracking: true,
  }))
  const vms = Array.from({ length: 5000 }, (_, index) => ({
    vmId: `0190b3a0-0000-7000-8000-${String(index).padStart(12, '0')}`,
    platform: 'kvm' as const,
    platformRef: `0190b3a0-0000-7000-8000-${String(index).padStart(12, '0')}`,
    name: `customer-application-server-${index}`,
    powerState: 'running' as const,
    guestAgent: true,
    memoryBytes: 2 ** 36,
    cpuCount: 16,
    disks,
  }))
  return InventoryReport.parse({ takenAt, hostname: 'host', agentVersion: '0.1.0', vms, repositories: [] })
}

/** Publishes one message at QoS 1 over a session of its own: was it acknowledged, or the session ended? */
async function publish(port: number, keysDir: string, payload: Buffer): Promise<'taken' | 'refused'> {
  const socket = await connectToBroker(port, keysDir)
  try {
    const answers = answersFrom(socket)
    // MQTT 5.0, 3.1: protocol name, version 5, clean start, keep alive 0, no properties, client id.
    socket.write(packet(0x10, Buffer.concat([text('MQTT'), Buffer.from([5, 2, 0, 0, 0]), text('test')])))
    expect((await answers.next()).value?.at(0)).toBe(0x20)
    // 3.3: topic, packet identifier, no properties, payload.
    const head = Buffer.concat([text(topics.events(AGENT_ID)), Buffer.from([0, 1, 0])])
    socket.write(packet(0x32, Buffer.concat([head, payload])))
    // 3.4: packet type, length, packet identifier, and a reason where there is one to give; 0x80 and up: refused.
    const answer = (await answers.next()).value
    return answer?.[0] === 0x40 && (answer[4] ?? 0) < 0x80 ? 'taken' : 'refused'
  } finally {
    socket.destroy()
  }
}

async function connectToBroker(port: number, keysDir: string): Promise<TLSSocket> {
  const [ca, cert, key] = await Promise.all(
    ['fleet-ca.crt', 'cloud-mqtt.crt', 'cloud-mqtt.key'].map((name) => readFile(path.join(keysDir, name))),
  )
  const until = Date.now() + CONNECT_WITHIN_MS
  for (;;) {
    const socket = connect({ host: '127.0.0.1', port, servername: 'localhost', ca, cert, key })
    try {
      await once(socket, 'secureConnect')
      return socket
    } catch (error) {
      socket.destroy()
      if (Date.now() > until) throw error
      await delay(50)
    }
  }
}

/** The packets that come; ends with the session. Each answer here is small and comes alone. */
async function* answersFrom(socket: TLSSocket): AsyncGenerator<Buffer, undefined> {
  try {
    for await (const chunk of socket) {
      if (Buffer.isBuffer(chunk)) yield chunk
    }
  } catch {
    // Reset by the broker: the session is over, which is an answer too.
  }
  return undefined
}

function packet(head: number, body: Buffer): Buffer {
  const length: number[] = []
  for (let rest = body.byteLength; ;) {
    const low = rest % 128
    rest = Math.floor(rest / 128)
    length.push(rest > 0 ? low + 128 : low)
    if (rest === 0) return Buffer.concat([Buffer.from([head, ...length]), body])
  }
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([Buffer.from([bytes.byteLength >> 8, bytes.byteLength & 255]), bytes])
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
