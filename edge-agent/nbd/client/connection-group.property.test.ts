import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ConnectionGroup } from './connection-group.ts'
import { SimulatedExport } from './simulated-export.ts'
import { BLOCK_BYTES, flush, openSimulatedGroup, read, SIZE_BYTES, stepping, write } from './simulated-group.ts'
import { WriteLedger } from './write-ledger.ts'

describe('connections that stand in for each other', () => {
  test('reads all end with the right bytes, whatever is lost meanwhile', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (seed) => {
        const dice = makeDice(seed)
        const server = new SimulatedExport(SIZE_BYTES)
        for (let at = 0; at < SIZE_BYTES; at += 1) server.current[at] = dice(256)
        server.durable.set(server.current)
        await using group = await openSimulatedGroup(server)
        const reads = Array.from({ length: 60 }, () => read(dice(SIZE_BYTES / BLOCK_BYTES)))
        await drive(server, dice, Promise.all(reads.map(async (one) => await group.request(one))))
        for (const { offsetBytes, into } of reads) {
          expect(Buffer.compare(into, server.durable.subarray(offsetBytes, offsetBytes + BLOCK_BYTES))).toBe(0)
        }
      }),
      { numRuns: 60 },
    )
  })

  test('what a flush covered survives every crash, and who writes again after nbd.writes_uncertain loses nothing', async () => {
    let uncertainties = 0
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (seed) => {
        const dice = makeDice(seed)
        const server = new SimulatedExport(SIZE_BYTES)
        uncertainties += await drive(server, dice, copyBlocks(server, dice))
        const expected = Array.from({ length: SIZE_BYTES / BLOCK_BYTES }, (_, block) => (block % 255) + 1)
        for (const [block, fill] of expected.entries()) {
          const bytes = server.durable.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES)
          expect(bytes.every((byte) => byte === fill)).toBe(true)
        }
      }),
      { numRuns: 60 },
    )
    expect(uncertainties).toBeGreaterThan(0)
  })
})

/** Numbers below a bound, the same for the same seed (mulberry32). */
function makeDice(seed: number): (sides: number) => number {
  let state = seed >>> 0
  return (sides) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % sides
  }
}

/** Answers, cuts and crashes as the dice say, until `work` has settled. */
async function drive<T>(server: SimulatedExport, dice: (sides: number) => number, work: Promise<T>): Promise<T> {
  return await stepping(work, () => {
    const connections = [...server.connections]
    const connection = connections[dice(Math.max(1, connections.length))]
    const event = dice(20)
    if (event === 0) {
      server.refusals = dice(4)
      server.crash(() => dice(2) === 0)
    } else if (event === 1) {
      connection?.cut()
    } else if (connection !== undefined && connection.pending.length > 0) {
      connection.answer(dice(connection.pending.length))
    }
  })
}

/**
 * Writes every block, flushes now and then, and after `nbd.writes_uncertain` opens the disk anew and writes again from
 * the last flush on. Resolves with how often that happened.
 */
async function copyBlocks(server: SimulatedExport, dice: (sides: number) => number): Promise<number> {
  let checkpoint = 0
  let uncertainties = 0
  while (checkpoint < SIZE_BYTES / BLOCK_BYTES) {
    const opened = await openAgain(server)
    await using group = opened
    try {
      while (checkpoint < SIZE_BYTES / BLOCK_BYTES) {
        const end = Math.min(checkpoint + 1 + dice(8), SIZE_BYTES / BLOCK_BYTES)
        const blocks = Array.from({ length: end - checkpoint }, (_, index) => checkpoint + index)
        await Promise.all(blocks.map(async (block) => await group.request(write(block, (block % 255) + 1))))
        await group.request(flush)
        checkpoint = end
      }
    } catch (error) {
      if (!isPlatformError(error, 'nbd.writes_uncertain')) throw error
      uncertainties += 1
    }
  }
  return uncertainties
}

async function openAgain(server: SimulatedExport): Promise<ConnectionGroup> {
  for (;;) {
    try {
      return await openSimulatedGroup(server, { ledger: new WriteLedger() })
    } catch (error) {
      if (!isPlatformError(error, 'nbd.disconnected')) throw error
    }
  }
}
