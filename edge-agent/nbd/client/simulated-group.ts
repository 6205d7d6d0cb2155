import { setImmediate as nextTurn } from 'node:timers/promises'
import type { NbdReconnect } from '../../block/block-endpoint.ts'
import { NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_WRITE } from '../wire/nbd-constants.ts'
import { ConnectionGroup, type ConnectionGroupOptions } from './connection-group.ts'
import type { NbdRequest } from './in-flight-request.ts'
import { makeSteppedClock, type SimulatedExport } from './simulated-export.ts'

export const SIZE_BYTES = 4096
export const BLOCK_BYTES = 64
const signal = AbortSignal.timeout(60_000)
const patient: NbdReconnect = { forMs: 1_000_000, attemptsMax: 1000 }

/** A group of at most three connections, with two requests each, that does not give up; unless told otherwise. */
export async function openSimulatedGroup(
  server: SimulatedExport,
  options: Partial<ConnectionGroupOptions> = {},
): Promise<ConnectionGroup> {
  return await ConnectionGroup.open(
    {
      name: 'simulated',
      dial: async (call) => await server.dial(call),
      connectionsMax: () => 3,
      inFlightMax: 2,
      reconnect: patient,
      clock: makeSteppedClock(),
      random: () => 0.5,
      ...options,
    },
    { signal },
  )
}

/** A read of one block. */
export function read(block: number): NbdRequest & { readonly into: Uint8Array } {
  const into = new Uint8Array(BLOCK_BYTES)
  return { command: NBD_CMD_READ, offsetBytes: block * BLOCK_BYTES, lengthBytes: BLOCK_BYTES, into, signal }
}

/** A write of one block. */
export function write(block: number, fill: number, commandFlags = 0): NbdRequest {
  const payload = new Uint8Array(BLOCK_BYTES).fill(fill)
  const range = { offsetBytes: block * BLOCK_BYTES, lengthBytes: BLOCK_BYTES }
  return { command: NBD_CMD_WRITE, commandFlags, ...range, payload, signal }
}

export const flush: NbdRequest = { command: NBD_CMD_FLUSH, offsetBytes: 0, lengthBytes: 0, signal }

/** Does `step` once a turn of the event loop until `work` has settled. */
export async function stepping<T>(work: Promise<T>, step: () => void): Promise<T> {
  const progress = { isOver: false }
  const watched = work.finally(() => {
    progress.isOver = true
  })
  watched.catch(() => undefined)
  while (!progress.isOver) {
    step()
    await nextTurn()
  }
  return await watched
}

/** Answers everything until `work` has settled. */
export async function answering<T>(server: SimulatedExport, work: Promise<T>): Promise<T> {
  return await stepping(work, () => {
    for (const connection of server.connections) connection.answer(0)
  })
}
