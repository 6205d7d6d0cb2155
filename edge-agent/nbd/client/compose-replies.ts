import type { SeededNumbers } from '../server/session-mutator.ts'
import { NBD_CMD_READ } from '../wire/nbd-constants.ts'
import type { ReplyStyle } from '../wire/reply-header.ts'
import type { JudgedRequest } from './reply-judge.ts'
import { chunk, extendedChunk, simpleReply, u16, u32, u64 } from './scripted-nbd-server.ts'

/**
 * Replies to some of the requests, in any order and mix: nearly right, with every field near the border between right
 * and wrong. The same for the same numbers.
 */
export function composeReplies(numbers: SeededNumbers, style: ReplyStyle, requests: readonly JudgedRequest[]): Buffer {
  const count = 1 + numbers.below(12)
  return Buffer.concat(Array.from({ length: count }, () => composeReply(numbers, style, numbers.pick(requests))))
}

function composeReply(numbers: SeededNumbers, style: ReplyStyle, asked: JudgedRequest): Buffer {
  const cookie = BigInt(asked.cookie + (numbers.below(60) === 0 ? 6 : 0))
  if (style === 'simple' || numbers.below(style === 'structured' ? 6 : 40) === 0) {
    const errorNumber = numbers.pick([0, 0, 0, 5, 28])
    const hasData = style === 'simple' && errorNumber === 0 && asked.command === NBD_CMD_READ
    return simpleReply(cookie, errorNumber, noise(numbers, hasData ? asked.lengthBytes : 0))
  }
  const [type, payload] = composePayload(numbers, style, asked)
  const flags = numbers.pick([0, 0, 1, 1, 1, 2, 0xffff])
  if (style === 'structured') return chunk(cookie, type, payload, flags)
  const offsetBytes = numbers.below(60) === 0 ? asked.offsetBytes + 1 : asked.offsetBytes
  return extendedChunk({ cookie, offsetBytes }, type, payload, flags)
}

function composePayload(
  numbers: SeededNumbers,
  style: ReplyStyle,
  asked: JudgedRequest,
): [type: number, bytes: Buffer] {
  const usual = asked.command !== NBD_CMD_READ ? [0, 0, 5, 6] : [1, 1, 1, 2, 2, 0]
  const type = numbers.pick([...usual, numbers.pick([0, 1, 2, 5, 6, 77, 2 ** 15 + 1, 2 ** 15 + 2, 2 ** 15 + 99])])
  if (type === 1) return [type, Buffer.concat([offsetIn(numbers, asked), noise(numbers, lengthIn(numbers, asked))])]
  if (type === 2) return [type, Buffer.concat([offsetIn(numbers, asked), u32(lengthIn(numbers, asked))])]
  if (type === 5 || type === 6) return [type, composeStatus(numbers, type === 6 && style === 'extended', asked)]
  if (type < 2 ** 15) return [type, noise(numbers, numbers.pick([0, 0, 0, 1, 64, 65]))]
  const textBytes = numbers.pick([0, 0, 3, 4096, 4097])
  const tail = type === 2 ** 15 + 1 ? [] : [offsetIn(numbers, asked)]
  const error = Buffer.concat([u32(numbers.pick([5, 5, 75, 0])), u16(textBytes), Buffer.alloc(textBytes, 120), ...tail])
  return [type, error.subarray(0, error.length - numbers.pick([0, 0, 0, 1, 8]))]
}

function composeStatus(numbers: SeededNumbers, isExtended: boolean, { lengthBytes }: JudgedRequest): Buffer {
  const lengths = [1, lengthBytes - 1, lengthBytes, lengthBytes, lengthBytes + 1, Math.ceil(lengthBytes / 2), 0]
  const runs = Array.from({ length: 1 + numbers.below(3) }, () => Math.max(0, numbers.pick(lengths)))
  const id = numbers.pick([1, 1, 1, 2, 2, 2, 3])
  if (!isExtended) return Buffer.concat([u32(id), ...runs.flatMap((run) => [u32(run), u32(numbers.below(4))])])
  const count = runs.length + (numbers.below(30) === 0 ? 1 : 0)
  const flags = numbers.below(30) === 0 ? 2n ** 32n : 3n
  return Buffer.concat([u32(id), u32(count), ...runs.flatMap((run) => [u64(BigInt(run)), u64(flags)])])
}

/** At the borders and in quarters of what was asked for. */
function offsetIn(numbers: SeededNumbers, { offsetBytes, lengthBytes }: JudgedRequest): Buffer {
  const quarter = Math.floor(lengthBytes / 4)
  const inside = [0, 0, quarter, quarter, 2 * quarter, 2 * quarter, 3 * quarter, 3 * quarter]
  const at = offsetBytes + numbers.pick([...inside, quarter - 1, quarter + 1, lengthBytes - 1, lengthBytes, -1])
  return u64(BigInt.asUintN(64, BigInt(at)))
}

function lengthIn(numbers: SeededNumbers, { lengthBytes }: JudgedRequest): number {
  const quarter = Math.floor(lengthBytes / 4)
  const usual = [quarter, quarter, quarter, 2 * quarter, lengthBytes, lengthBytes - 3 * quarter]
  return Math.max(0, numbers.pick([...usual, quarter + 1, quarter - 1, 1, 0]))
}

function noise(numbers: SeededNumbers, lengthBytes: number): Buffer {
  const first = numbers.below(256)
  return Buffer.from(Array.from({ length: lengthBytes }, (_, at) => (first + at * 7) & 0xff))
}
