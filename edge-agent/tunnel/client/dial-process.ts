import assert from 'node:assert/strict'
import process from 'node:process'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { readEd25519Key } from '../ssh/ed25519-key.ts'
import { ssh2Loaded } from '../ssh/ssh2-protocol.ts'
import { keepDialing } from './dial-loop.ts'
import { DialOrder, type DialReport, type LocalTarget } from './dial-messages.ts'

// A process of its own for each tunnel: their ciphers share no thread with each other, nor with whoever watches over a
// frozen guest. It lives as long as its channel to the client.
await ssh2Loaded()
assert(process.send !== undefined, 'dial-process runs only as a child process')
const targets = new Map<number, LocalTarget>()
const stopped = new AbortController()

process.on('message', (message: unknown) => {
  const order = DialOrder.parse(message)
  if (order.type === 'start') {
    void dial(order)
  } else if (order.type === 'target') {
    if (order.target === undefined) targets.delete(order.port)
    else targets.set(order.port, order.target)
    report({ type: 'target-known', orderId: order.orderId })
  } else {
    stopped.abort(new Error('the tunnel was closed'))
  }
})
process.on('disconnect', () => process.exit())
// Who ends the client ends this process by closing the channel, in its own order.
process.on('SIGINT', () => undefined)
process.on('SIGTERM', () => undefined)

async function dial(start: Extract<DialOrder, { type: 'start' }>): Promise<void> {
  for (const { port, target } of start.targets) targets.set(port, target)
  await keepDialing({
    address: { host: start.host, port: start.port },
    hostKeyFingerprint: start.hostKeyFingerprint,
    key: readEd25519Key(start.key, 'the key of the capture agent'),
    ports: start.ports,
    findTarget: (port) => targets.get(port),
    times: start.times,
    retry: start.retry,
    clock: systemClock,
    onState: (isConnected, error) => {
      const told = error === undefined ? {} : { error: { code: error.code, message: error.message } }
      report({ type: 'state', isConnected, ...told })
    },
    signal: stopped.signal,
  })
  // Time for the farewell to leave.
  setTimeout(() => process.exit(), 100)
}

function report(message: DialReport): void {
  if (process.connected) process.send?.(message)
}
