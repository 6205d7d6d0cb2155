import { describe, expect, test } from 'vitest'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_DISC,
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
  NBD_EINVAL,
  NBD_ENOSPC,
  NBD_EOVERFLOW,
  NBD_EPERM,
} from '../wire/nbd-constants.ts'
import type { ReceivedRequest } from '../wire/received-request.ts'
import type { ReplyStyle } from '../wire/reply-header.ts'
import { findFault, type RequestRules } from './request-check.ts'

const SIZE_BYTES = 8 * 1024 * 1024
const BLOCK_BYTES = 512
const MAXIMUM_BYTES = 1024 * 1024

const rules: RequestRules = {
  sizeBytes: SIZE_BYTES,
  blockSizes: { minimumBytes: BLOCK_BYTES, preferredBytes: 4096, maximumBytes: MAXIMUM_BYTES },
  isWritable: true,
  canTrim: true,
  style: 'structured',
  hasContexts: true,
}

/** As a client sends it that keeps to the protocol, in the style of the connection. */
function request(command: number, style: ReplyStyle, others: Partial<ReceivedRequest> = {}): ReceivedRequest {
  const isWrite = command === NBD_CMD_WRITE
  const lengthBytes = others.lengthBytes ?? (command === NBD_CMD_FLUSH || command === NBD_CMD_DISC ? 0 : BLOCK_BYTES)
  const flags = isWrite && style === 'extended' ? NBD_CMD_FLAG_PAYLOAD_LEN : 0
  return {
    command,
    cookie: 1n,
    offset: 0n,
    offsetBytes: 0,
    payloadBytes: isWrite ? lengthBytes : 0,
    ...others,
    commandFlags: flags | (others.commandFlags ?? 0),
    lengthBytes,
  }
}

const commands = {
  READ: NBD_CMD_READ,
  WRITE: NBD_CMD_WRITE,
  DISC: NBD_CMD_DISC,
  FLUSH: NBD_CMD_FLUSH,
  TRIM: NBD_CMD_TRIM,
  CACHE: NBD_CMD_CACHE,
  WRITE_ZEROES: NBD_CMD_WRITE_ZEROES,
  BLOCK_STATUS: NBD_CMD_BLOCK_STATUS,
}
const styles = ['simple', 'structured', 'extended'] as const
/** Each flag with the commands that it belongs to; FUA belongs to all. */
const flags = {
  'FUA': [NBD_CMD_FLAG_FUA, Object.values(commands)],
  'NO_HOLE': [NBD_CMD_FLAG_NO_HOLE, [NBD_CMD_WRITE_ZEROES]],
  'DF': [NBD_CMD_FLAG_DF, [NBD_CMD_READ]],
  'REQ_ONE': [NBD_CMD_FLAG_REQ_ONE, [NBD_CMD_BLOCK_STATUS]],
  'FAST_ZERO': [NBD_CMD_FLAG_FAST_ZERO, [NBD_CMD_WRITE_ZEROES]],
  'PAYLOAD_LEN': [NBD_CMD_FLAG_PAYLOAD_LEN, []],
  'bit 6': [1 << 6, []],
  'bit 15': [1 << 15, []],
} as const

/** Every command in every style, without flags and with each of them. */
const cases = Object.entries(commands).flatMap(([name, command]) =>
  styles.flatMap((style) =>
    Object.entries(flags).map(([flagName, [flag, owners]]) => {
      const isForStyle = flag !== NBD_CMD_FLAG_DF || style !== 'simple'
      const isOwn = (owners as readonly number[]).includes(command) && isForStyle
      // The flag that an extended write must have anyway.
      const isUsual = command === NBD_CMD_WRITE && style === 'extended' && flag === NBD_CMD_FLAG_PAYLOAD_LEN
      return { name, command, style, flagName, flag, isAllowed: isOwn || isUsual }
    }),
  ),
)

describe('a request in order', () => {
  test.each(styles)('has no fault, whatever its command, in %s style', (style) => {
    for (const command of Object.values(commands)) {
      expect(findFault(request(command, style), { ...rules, style })).toBeUndefined()
    }
  })
})

describe('flags', () => {
  test.each(cases)('$name with $flagName in $style style', ({ command, style, flag, isAllowed }) => {
    const fault = findFault(request(command, style, { commandFlags: flag }), { ...rules, style })
    expect(fault?.errorNumber).toBe(isAllowed ? undefined : NBD_EINVAL)
  })
})

describe('what an export cannot do', () => {
  test('nothing changes a read-only one, and FUA is not offered there', () => {
    const readOnly = { ...rules, isWritable: false }
    for (const command of [NBD_CMD_WRITE, NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES]) {
      expect(findFault(request(command, 'structured'), readOnly)?.errorNumber).toBe(NBD_EPERM)
    }
    const forced = request(NBD_CMD_READ, 'structured', { commandFlags: NBD_CMD_FLAG_FUA })
    expect(findFault(forced, readOnly)?.errorNumber).toBe(NBD_EINVAL)
    expect(findFault(request(NBD_CMD_FLUSH, 'structured'), readOnly)).toBeUndefined()
  })

  test('no trims without trim, no block status without contexts, no commands that do not exist', () => {
    expect(findFault(request(NBD_CMD_TRIM, 'simple'), { ...rules, canTrim: false })?.errorNumber).toBe(NBD_EINVAL)
    const without = { ...rules, hasContexts: false }
    expect(findFault(request(NBD_CMD_BLOCK_STATUS, 'structured'), without)?.errorNumber).toBe(NBD_EINVAL)
    for (let command = 8; command < 2 ** 16; command += 1) {
      expect(findFault(request(command, 'simple'), rules)?.errorNumber).toBe(NBD_EINVAL)
    }
  })
})

function rangeFaultOf(command: number, offsetBytes: number, lengthBytes: number, style: ReplyStyle = 'structured') {
  return findFault(request(command, style, { offsetBytes, lengthBytes }), { ...rules, style })?.errorNumber
}

describe('ranges', () => {
  const ranged = [NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_TRIM, NBD_CMD_CACHE, NBD_CMD_WRITE_ZEROES, NBD_CMD_BLOCK_STATUS]

  test('may touch the end of the disk and not leave it', () => {
    for (const command of ranged) {
      const beyond = command === NBD_CMD_WRITE || command === NBD_CMD_WRITE_ZEROES ? NBD_ENOSPC : NBD_EINVAL
      expect(rangeFaultOf(command, SIZE_BYTES - BLOCK_BYTES, BLOCK_BYTES)).toBeUndefined()
      expect(rangeFaultOf(command, SIZE_BYTES, BLOCK_BYTES)).toBe(beyond)
      expect(rangeFaultOf(command, SIZE_BYTES - BLOCK_BYTES, 2 * BLOCK_BYTES)).toBe(beyond)
      expect(rangeFaultOf(command, 2 ** 64 - 512, BLOCK_BYTES)).toBe(beyond)
    }
  })

  test('are whole blocks', () => {
    for (const command of ranged) {
      expect(rangeFaultOf(command, 1, BLOCK_BYTES)).toBe(NBD_EINVAL)
      expect(rangeFaultOf(command, 0, BLOCK_BYTES - 1)).toBe(NBD_EINVAL)
    }
  })

  test('carry no more than the maximum, where they carry anything', () => {
    const tooLong = MAXIMUM_BYTES + BLOCK_BYTES
    expect(rangeFaultOf(NBD_CMD_READ, 0, MAXIMUM_BYTES)).toBeUndefined()
    expect(rangeFaultOf(NBD_CMD_READ, 0, tooLong, 'simple')).toBe(NBD_EINVAL)
    expect(rangeFaultOf(NBD_CMD_READ, 0, tooLong)).toBe(NBD_EOVERFLOW)
    expect(rangeFaultOf(NBD_CMD_WRITE, 0, tooLong)).toBe(NBD_EINVAL)
    for (const command of [NBD_CMD_TRIM, NBD_CMD_CACHE, NBD_CMD_WRITE_ZEROES, NBD_CMD_BLOCK_STATUS]) {
      expect(rangeFaultOf(command, 0, SIZE_BYTES)).toBeUndefined()
    }
  })

  test('of nothing are fine, but for block status; a flush has none', () => {
    for (const command of ranged.filter((one) => one !== NBD_CMD_BLOCK_STATUS)) {
      expect(rangeFaultOf(command, SIZE_BYTES, 0)).toBeUndefined()
    }
    expect(rangeFaultOf(NBD_CMD_BLOCK_STATUS, 0, 0)).toBe(NBD_EINVAL)
    expect(rangeFaultOf(NBD_CMD_FLUSH, BLOCK_BYTES, 0)).toBe(NBD_EINVAL)
    expect(rangeFaultOf(NBD_CMD_FLUSH, 0, BLOCK_BYTES)).toBe(NBD_EINVAL)
  })
})

function payloadFaultOf(command: number, payloadBytes: number) {
  const commandFlags = NBD_CMD_FLAG_PAYLOAD_LEN
  const asked = request(command, 'extended', { commandFlags, payloadBytes, lengthBytes: payloadBytes })
  return findFault(asked, { ...rules, style: 'extended' })?.errorNumber
}

describe('payloads of extended requests', () => {
  test('belong to writes and block status only', () => {
    for (const command of Object.values(commands)) {
      const may = command === NBD_CMD_WRITE || command === NBD_CMD_BLOCK_STATUS
      expect(payloadFaultOf(command, BLOCK_BYTES)).toBe(may ? undefined : NBD_EINVAL)
      expect(payloadFaultOf(command, 0)).toBe(NBD_EINVAL)
    }
  })
})
