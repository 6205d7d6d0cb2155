import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { OPTION_HEADER_BYTES } from '../wire/handshake-options.ts'
import {
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_FLAG_C_NO_ZEROES,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STARTTLS,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_EXT_HEADER_REQD,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_SHUTDOWN,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_TOO_BIG,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
  NBD_STRING_BYTES_MAX,
} from '../wire/nbd-constants.ts'
import { clientViolation } from '../wire/nbd-errors.ts'
import {
  encodeExportNameAnswer,
  encodeGreeting,
  encodeMetaContext,
  encodeOptionReply,
  encodeServer,
} from '../wire/option-replies.ts'
import { decodeInfoRequest, decodeMetaContextRequest, decodeOption } from '../wire/option-requests.ts'
import { cutText } from '../wire/reply-encoding.ts'
import type { ReplyStyle } from '../wire/reply-header.ts'
import { describeExport } from './describe-export.ts'
import type { ExportContext, NegotiatedExport, ServedExport } from './nbd-export.ts'

/** Longer data is skipped and answered with NBD_REP_ERR_TOO_BIG. */
const OPTION_DATA_BYTES_MAX = 32 * 1024

/** What the handshake of one connection works on. */
export interface HandshakeClient {
  /** Exactly so many bytes. */
  receive(lengthBytes: number): Promise<Buffer>
  skip(lengthBytes: number): void
  /** Resolves when the system has it: a client that does not read its replies waits. */
  send(bytes: Buffer): Promise<void>
  /** Absent: there is no TLS here. */
  readonly startTls?: () => Promise<void>
}

/** What the server has to offer at this moment. */
export interface HandshakeOffer {
  /** By an export's name; a sole export also answers to the empty one. */
  find(exportName: string): ServedExport | undefined
  list(): Iterable<ServedExport>
  /** The server or the connection is about to end. */
  readonly isEnding: boolean
}

/** What options before it have changed; STARTTLS forgets all of it. */
interface Haggling {
  noZeroes: boolean
  isSecure: boolean
  style: ReplyStyle
  chosen: { readonly served: ServedExport; readonly contexts: readonly ExportContext[] } | undefined
}

/** One option being answered. */
interface OptionCall {
  readonly option: number
  readonly data: Buffer
  readonly client: HandshakeClient
  readonly offer: HandshakeOffer
  readonly haggling: Haggling
}

/** Ends the haggling: with an export, or without one where the client gave up. */
type OptionOutcome = 'go on' | 'aborted' | NegotiatedExport

/**
 * The fixed newstyle handshake up to transmission. Resolves with undefined when the client ends it in order.
 * Rejects with `nbd.protocol_violation`, `nbd.export_not_found` where that cannot be answered, `nbd.access_denied`, or
 * what the client's methods reject with; the connection is of no use then.
 */
export async function haggle(client: HandshakeClient, offer: HandshakeOffer): Promise<NegotiatedExport | undefined> {
  await client.send(encodeGreeting())
  const flags = (await client.receive(4)).readUInt32BE(0)
  const unknown = flags & ~(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES)
  if (unknown !== 0) throw clientViolation(`client flags 0x${(flags >>> 0).toString(16)}`)
  const noZeroes = (flags & NBD_FLAG_C_NO_ZEROES) !== 0
  const isFixed = (flags & NBD_FLAG_C_FIXED_NEWSTYLE) !== 0
  const haggling: Haggling = { noZeroes, isSecure: false, style: 'simple', chosen: undefined }
  for (;;) {
    const { option, lengthBytes } = decodeOption(await client.receive(OPTION_HEADER_BYTES))
    if (!isFixed && option !== NBD_OPT_EXPORT_NAME) throw clientViolation(`option ${option} without fixed newstyle`)
    if (lengthBytes > OPTION_DATA_BYTES_MAX) {
      if (option === NBD_OPT_EXPORT_NAME) throw clientViolation(`an export name of ${lengthBytes} bytes`)
      client.skip(lengthBytes)
      await client.send(refusal(option, NBD_REP_ERR_TOO_BIG, `${lengthBytes} bytes are too many`))
      continue
    }
    const data = await client.receive(lengthBytes)
    const outcome = await answerOption({ option, data, client, offer, haggling })
    if (outcome === 'aborted') return undefined
    if (outcome !== 'go on') return outcome
  }
}

async function answerOption(call: OptionCall): Promise<OptionOutcome> {
  const { option, client, haggling, offer } = call
  const needsTls = client.startTls !== undefined && !haggling.isSecure
  if (needsTls && option === NBD_OPT_EXPORT_NAME) throw denied('NBD_OPT_EXPORT_NAME without TLS')
  if (needsTls && option !== NBD_OPT_STARTTLS && option !== NBD_OPT_ABORT) {
    return await refuse(call, NBD_REP_ERR_TLS_REQD, 'this server needs TLS')
  }
  if (offer.isEnding && option !== NBD_OPT_ABORT) {
    if (option === NBD_OPT_EXPORT_NAME) throw new PlatformError('nbd.disconnected', 'the server is ending')
    return await refuse(call, NBD_REP_ERR_SHUTDOWN, 'the server is ending')
  }
  const answer = ANSWERS[option]
  if (answer === undefined) return await refuse(call, NBD_REP_ERR_UNSUP, `there is no option ${option}`)
  try {
    return await answer(call)
  } catch (error) {
    if (!(error instanceof MalformedOption)) throw error
    return await refuse(call, NBD_REP_ERR_INVALID, error.message)
  }
}

/** The data of an option does not hold together; the client is told and may go on. */
class MalformedOption extends Error {}

const ANSWERS: Readonly<Record<number, (call: OptionCall) => Promise<OptionOutcome>>> = {
  [NBD_OPT_EXPORT_NAME]: enterByName,
  [NBD_OPT_ABORT]: abort,
  [NBD_OPT_LIST]: list,
  [NBD_OPT_STARTTLS]: secure,
  [NBD_OPT_INFO]: describe,
  [NBD_OPT_GO]: describe,
  [NBD_OPT_STRUCTURED_REPLY]: structureReplies,
  [NBD_OPT_LIST_META_CONTEXT]: listContexts,
  [NBD_OPT_SET_META_CONTEXT]: setContexts,
  [NBD_OPT_EXTENDED_HEADERS]: extendHeaders,
}

/** Has no replies: what cannot be had ends the connection (NBD proto.md, "NBD_OPT_EXPORT_NAME"). */
async function enterByName({ data, client, offer, haggling }: OptionCall): Promise<OptionOutcome> {
  if (data.length > NBD_STRING_BYTES_MAX) throw clientViolation(`an export name of ${data.length} bytes`)
  if (haggling.style === 'extended') throw clientViolation('NBD_OPT_EXPORT_NAME with extended headers')
  const name = data.toString('utf8')
  const served = offer.find(name)
  if (served === undefined) throw new PlatformError('nbd.export_not_found', `there is no export "${name}"`)
  const negotiated = agreement(served, haggling)
  const flags = served.transmissionFlags(negotiated.style, false)
  await client.send(encodeExportNameAnswer({ sizeBytes: served.sizeBytes, flags }, haggling.noZeroes))
  return negotiated
}

async function abort({ option, client }: OptionCall): Promise<OptionOutcome> {
  await client.send(encodeOptionReply(option, NBD_REP_ACK))
  return 'aborted'
}

async function list(call: OptionCall): Promise<OptionOutcome> {
  expectNoData(call)
  for (const { name, description } of call.offer.list()) {
    await call.client.send(encodeOptionReply(call.option, NBD_REP_SERVER, encodeServer(name, description)))
  }
  return await acknowledge(call)
}

async function secure(call: OptionCall): Promise<OptionOutcome> {
  const { client, haggling } = call
  if (client.startTls === undefined) return await refuse(call, NBD_REP_ERR_POLICY, 'this server has no TLS')
  if (haggling.isSecure) return await refuse(call, NBD_REP_ERR_INVALID, 'TLS has begun already')
  expectNoData(call)
  await acknowledge(call)
  await client.startTls()
  Object.assign(haggling, { isSecure: true, style: 'simple', chosen: undefined } satisfies Partial<Haggling>)
  return 'go on'
}

/** NBD_OPT_INFO and NBD_OPT_GO. */
async function describe(call: OptionCall): Promise<OptionOutcome> {
  const { option, data, client, offer, haggling } = call
  const request = parse(() => decodeInfoRequest(data))
  const served = offer.find(request.exportName)
  if (served === undefined) return await refuse(call, NBD_REP_ERR_UNKNOWN, `there is no export "${request.exportName}"`)
  const negotiated = agreement(served, haggling)
  for (const info of describeExport(negotiated, request.infos, option === NBD_OPT_INFO)) {
    await client.send(encodeOptionReply(option, NBD_REP_INFO, info))
  }
  await acknowledge(call)
  return option === NBD_OPT_GO ? negotiated : 'go on'
}

async function structureReplies(call: OptionCall): Promise<OptionOutcome> {
  expectNoData(call)
  const { haggling } = call
  if (haggling.style === 'extended') {
    return await refuse(call, NBD_REP_ERR_EXT_HEADER_REQD, 'extended headers were negotiated already')
  }
  haggling.style = 'structured'
  return await acknowledge(call)
}

async function extendHeaders(call: OptionCall): Promise<OptionOutcome> {
  expectNoData(call)
  call.haggling.style = 'extended'
  return await acknowledge(call)
}

async function listContexts(call: OptionCall): Promise<OptionOutcome> {
  const asked = await askedContexts(call)
  if (asked === undefined) return 'go on'
  const { served, queries } = asked
  const found = queries.length === 0 ? served.contexts : queries.flatMap((query) => served.listContexts(query))
  for (const { name } of new Set(found)) {
    await call.client.send(encodeOptionReply(call.option, NBD_REP_META_CONTEXT, encodeMetaContext(0, name)))
  }
  return await acknowledge(call)
}

/** Replaces what was chosen before, also when it fails (NBD proto.md, "NBD_OPT_SET_META_CONTEXT"). */
async function setContexts(call: OptionCall): Promise<OptionOutcome> {
  call.haggling.chosen = undefined
  const asked = await askedContexts(call)
  if (asked === undefined) return 'go on'
  const { served, queries } = asked
  const contexts = served.contexts.filter(({ name }) => queries.includes(name))
  for (const { id, name } of contexts) {
    await call.client.send(encodeOptionReply(call.option, NBD_REP_META_CONTEXT, encodeMetaContext(id, name)))
  }
  call.haggling.chosen = { served, contexts }
  return await acknowledge(call)
}

/** Undefined: the client was told why not. */
async function askedContexts(
  call: OptionCall,
): Promise<{ readonly served: ServedExport; readonly queries: readonly string[] } | undefined> {
  const { data, offer, haggling } = call
  const refused = async (type: number, text: string): Promise<undefined> => void (await refuse(call, type, text))
  if (haggling.style === 'simple') return await refused(NBD_REP_ERR_INVALID, 'contexts need structured replies')
  const { exportName, queries } = parse(() => decodeMetaContextRequest(data))
  if (queries === undefined) return await refused(NBD_REP_ERR_TOO_BIG, 'so many queries are too many')
  const served = offer.find(exportName)
  if (served === undefined) return await refused(NBD_REP_ERR_UNKNOWN, `there is no export "${exportName}"`)
  return { served, queries }
}

/** Contexts hold for the export they were chosen for, under whichever of its names. */
function agreement(served: ServedExport, { style, chosen }: Haggling): NegotiatedExport {
  return { served, style, contexts: chosen?.served === served ? chosen.contexts : [] }
}

async function acknowledge({ option, client }: OptionCall): Promise<'go on'> {
  await client.send(encodeOptionReply(option, NBD_REP_ACK))
  return 'go on'
}

async function refuse({ option, client }: OptionCall, type: number, text: string): Promise<'go on'> {
  await client.send(refusal(option, type, text))
  return 'go on'
}

function refusal(option: number, type: number, text: string): Buffer {
  return encodeOptionReply(option, type, cutText(text))
}

function expectNoData({ data }: OptionCall): void {
  if (data.length > 0) throw new MalformedOption(`${data.length} bytes of data where none belong`)
}

function parse<T>(decode: () => T): T {
  try {
    return decode()
  } catch (error) {
    if (error instanceof PlatformError) throw new MalformedOption(error.message)
    throw error
  }
}

function denied(what: string): PlatformError {
  return new PlatformError('nbd.access_denied', `a client was turned away: ${what}`)
}
