import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { freePort } from '../db/testing/test-database.ts'

const UP_WITHIN_MS = 10_000

/** A real Mosquitto with mutual TLS and the fleet's access list. */
export interface TestBroker extends AsyncDisposable {
  readonly url: string
  stop(): Promise<void>
  start(): Promise<void>
}

export async function startTestBroker(keysDirectory: string): Promise<TestBroker> {
  const directory = await mkdtemp(join(tmpdir(), 'sendense-mqtt-'))
  const port = await freePort()
  const acl = [
    'user cloud',
    'topic readwrite sd/v1/a/#',
    'pattern read sd/v1/a/%u/cmd',
    'pattern write sd/v1/a/%u/evt',
    'pattern write sd/v1/a/%u/rt',
    'pattern write sd/v1/a/%u/up',
  ]
  await writeFile(join(directory, 'acl'), `${acl.join('\n')}\n`, { mode: 0o600 })
  const lines = [
    'user root',
    'per_listener_settings false',
    `listener ${port} 127.0.0.1`,
    `cafile ${join(keysDirectory, 'fleet-ca.crt')}`,
    `certfile ${join(keysDirectory, 'broker.crt')}`,
    `keyfile ${join(keysDirectory, 'broker.key')}`,
    'require_certificate true',
    'use_identity_as_username true',
    `acl_file ${join(directory, 'acl')}`,
    'persistence false',
  ]
  await writeFile(join(directory, 'mosquitto.conf'), `${lines.join('\n')}\n`)
  let child: ChildProcess | undefined
  const stop = async (): Promise<void> => {
    const running = child
    child = undefined
    if (running === undefined || running.exitCode !== null) return
    running.kill('SIGTERM')
    await once(running, 'exit')
  }
  const start = async (): Promise<void> => {
    child = spawn('/usr/sbin/mosquitto', ['-c', join(directory, 'mosquitto.conf')], { stdio: 'ignore' })
    await waitForPort(port)
  }
  await start()
  return {
    url: `mqtts://127.0.0.1:${port}`,
    stop,
    start,
    async [Symbol.asyncDispose]() {
      await stop()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

async function waitForPort(port: number): Promise<void> {
  const until = Date.now() + UP_WITHIN_MS
  for (;;) {
    const socket = connect(port, '127.0.0.1')
    const open = await Promise.race([
      once(socket, 'connect').then(() => true),
      once(socket, 'error').then(() => false),
    ]).catch(() => false)
    socket.destroy()
    if (open) return
    if (Date.now() > until) throw new Error('the broker does not listen')
    await delay(20)
  }
}
