import { readFile, writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import path from 'node:path'
import { connect } from 'node:tls'
import { mosquittoConfiguration } from '../broker/mosquitto-configuration.ts'
import type { ProcessSpec } from '../processes/managed-process.ts'
import type { StackPaths } from './stack-paths.ts'

/** Writes the broker's configuration and returns how to run it. The keys must lie in the keys directory already. */
export async function prepareBroker(paths: StackPaths, port: number): Promise<ProcessSpec> {
  const file = path.join(paths.brokerDir, 'mosquitto.conf')
  const inputs = { port, keysDir: paths.keysDir, dataDir: paths.brokerDir, user: userInfo().username }
  await writeFile(file, mosquittoConfiguration(inputs))
  return {
    name: 'broker',
    file: 'mosquitto',
    args: ['-c', file],
    logFile: path.join(paths.logsDir, 'broker.log'),
    ready: async (signal) => await acceptsTls(paths.keysDir, port, signal),
    readyTimeoutMs: 20_000,
  }
}

/** A whole handshake with the cloud's certificate, both sides verified. */
async function acceptsTls(keysDir: string, port: number, signal: AbortSignal): Promise<boolean> {
  const [ca, cert, key] = await Promise.all(
    ['fleet-ca.crt', 'cloud-mqtt.crt', 'cloud-mqtt.key'].map(async (name) => await readFile(path.join(keysDir, name))),
  )
  return await new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, servername: 'localhost', ca, cert, key })
    const giveUp = (): void => void socket.destroy(new Error('the broker does not answer'))
    signal.addEventListener('abort', giveUp, { once: true })
    socket.once('secureConnect', () => resolve(socket.end().authorized))
    socket.once('error', reject)
    socket.once('close', () => signal.removeEventListener('abort', giveUp))
  })
}
