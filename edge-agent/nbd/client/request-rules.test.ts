import { describe, expect, test } from 'vitest'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_DF,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
  type NbdCommand,
} from '../wire/nbd-constants.ts'
import type { NbdSession } from './handshake.ts'
import { expectAllowed } from './request-rules.ts'

const GIB = 2 ** 30
const ALL_FLAGS = 0xffff & ~NBD_FLAG_READ_ONLY
const commands = [
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_CMD_FLUSH,
  NBD_CMD_TRIM,
  NBD_CMD_CACHE,
  NBD_CMD_WRITE_ZEROES,
  NBD_CMD_BLOCK_STATUS,
] as const
const commandFlags = [
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  1 << 15,
]

function session(change: Partial<NbdSession> = {}): NbdSession {
  return {
    sizeBytes: 16 * GIB,
    flags: ALL_FLAGS,
    blockSizes: { minimumBytes: 512, preferredBytes: 4096, maximumBytes: 65_536 },
    replyStyle: 'structured',
    contextIds: new Map([['base:allocation', 1]]),
    ...change,
  }
}

/** How a request ends: `allowed`, or the code it is refused with. */
function endOf(
  on: NbdSession,
  command: NbdCommand,
  more: { flags?: number; at?: number; length?: number } = {},
): string {
  const lengthBytes = more.length ?? (command === NBD_CMD_FLUSH ? 0 : 512)
  const { signal } = new AbortController()
  const request = { command, commandFlags: more.flags ?? 0, offsetBytes: more.at ?? 0, lengthBytes, signal }
  try {
    expectAllowed(on, request)
    return 'allowed'
  } catch (error) {
    return (error as { code: string }).code
  }
}

describe('what may be sent to an NBD server', () => {
  test('to one that offers everything: every command, and of its flags exactly those it has', () => {
    const allowed = commands.map((command) => [
      command,
      endOf(session(), command),
      commandFlags.filter((flags) => endOf(session(), command, { flags }) === 'allowed'),
    ])
    expect(allowed).toEqual([
      [NBD_CMD_READ, 'allowed', [NBD_CMD_FLAG_DF]],
      [NBD_CMD_WRITE, 'allowed', [NBD_CMD_FLAG_FUA]],
      [NBD_CMD_FLUSH, 'allowed', []],
      [NBD_CMD_TRIM, 'allowed', [NBD_CMD_FLAG_FUA]],
      [NBD_CMD_CACHE, 'allowed', []],
      [NBD_CMD_WRITE_ZEROES, 'allowed', [NBD_CMD_FLAG_FUA, NBD_CMD_FLAG_NO_HOLE, NBD_CMD_FLAG_FAST_ZERO]],
      [NBD_CMD_BLOCK_STATUS, 'allowed', [NBD_CMD_FLAG_REQ_ONE]],
    ])
  })

  test.each([
    [NBD_FLAG_SEND_FLUSH, NBD_CMD_FLUSH, 0],
    [NBD_FLAG_SEND_TRIM, NBD_CMD_TRIM, 0],
    [NBD_FLAG_SEND_CACHE, NBD_CMD_CACHE, 0],
    [NBD_FLAG_SEND_WRITE_ZEROES, NBD_CMD_WRITE_ZEROES, 0],
    [NBD_FLAG_SEND_FUA, NBD_CMD_WRITE, NBD_CMD_FLAG_FUA],
    [NBD_FLAG_SEND_FUA, NBD_CMD_TRIM, NBD_CMD_FLAG_FUA],
    [NBD_FLAG_SEND_FUA, NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_FUA],
    [NBD_FLAG_SEND_DF, NBD_CMD_READ, NBD_CMD_FLAG_DF],
    [NBD_FLAG_SEND_FAST_ZERO, NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_FAST_ZERO],
  ] as const)('without transmission flag %i: not command %i with flags %i', (missing, command, flags) => {
    expect(endOf(session({ flags: ALL_FLAGS & ~missing }), command, { flags })).toBe('nbd.unsupported')
  })

  test('without contexts: no block status', () => {
    expect(endOf(session({ contextIds: new Map() }), NBD_CMD_BLOCK_STATUS)).toBe('nbd.unsupported')
  })

  test('to a read-only export: nothing that writes', () => {
    const readOnly = session({ flags: ALL_FLAGS | NBD_FLAG_READ_ONLY })
    const refused = commands.filter((command) => endOf(readOnly, command) === 'nbd.read_only')
    expect(refused).toEqual([NBD_CMD_WRITE, NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES])
  })

  test('only whole blocks that lie on the disk', () => {
    for (const command of commands.filter((one) => one !== NBD_CMD_FLUSH)) {
      expect(endOf(session(), command, { at: 16 * GIB - 512 })).toBe('allowed')
      for (const more of [{ at: 16 * GIB }, { at: 100 }, { length: 100 }, { at: -512 }, { length: 0 }]) {
        expect(endOf(session(), command, more)).toBe('input.invalid')
      }
    }
    expect(endOf(session(), NBD_CMD_FLUSH, { length: 512 })).toBe('input.invalid')
  })

  test('as much as a request may have', () => {
    const extended = session({ replyStyle: 'extended' })
    for (const command of [NBD_CMD_READ, NBD_CMD_WRITE] as const) {
      for (const on of [session(), extended]) {
        expect(endOf(on, command, { length: 65_536 })).toBe('allowed')
        expect(endOf(on, command, { length: 66_048 })).toBe('input.invalid')
      }
    }
    for (const command of [NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES, NBD_CMD_BLOCK_STATUS, NBD_CMD_CACHE] as const) {
      expect(endOf(session(), command, { length: 4 * GIB - 512 })).toBe('allowed')
      expect(endOf(session(), command, { length: 4 * GIB })).toBe('input.invalid')
      expect(endOf(extended, command, { length: 16 * GIB })).toBe('allowed')
    }
  })
})
