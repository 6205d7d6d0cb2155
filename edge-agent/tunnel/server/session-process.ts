import assert from 'node:assert/strict'
import { Socket } from 'node:net'
import process from 'node:process'
import { ssh2Loaded } from '../ssh/ssh2-protocol.ts'
import { SessionHost } from './session-host.ts'
import { type ProcessReport, SessionOrder } from './session-messages.ts'

// A process of its own for SSH connections: the agent's thread never waits for their ciphers, and what a peer that has
// not logged in yet sends is parsed outside the agent. It lives as long as its channel to the server.
await ssh2Loaded()
assert(process.send !== undefined, 'session-process runs only as a child process')
let host: SessionHost | undefined

process.setMaxListeners(0)
process.on('message', (message: unknown, handle: unknown) => {
  const order = SessionOrder.parse(message)
  // With these a socket was sent; it may have been closed on its way.
  if (order.type === 'accept' || order.type === 'open') report({ type: 'taken' })
  if (order.type === 'start') host = new SessionHost(order, report)
  else host?.obey(order, handle instanceof Socket ? handle : undefined)
})
process.on('disconnect', () => process.exit())
// Who ends the server ends this process by closing the channel, in its own order.
process.on('SIGINT', () => undefined)
process.on('SIGTERM', () => undefined)

function report(message: ProcessReport): void {
  if (process.connected) process.send?.(message)
}
