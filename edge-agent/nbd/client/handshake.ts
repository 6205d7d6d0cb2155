import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { NbdEndpoint } from '../../block/block-endpoint.ts'
import {
  type BlockSizes,
  decodeInfo,
  decodeMetaContext,
  decodeOptionReplyHeader,
  encodeGo,
  encodeOption,
  encodeSetMetaContext,
  type ExportInfo,
  OPTION_REPLY_HEADER_BYTES,
} from '../wire/handshake-options.ts'
import {
  BASE_ALLOCATION,
  IHAVEOPT,
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_FLAG_C_NO_ZEROES,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_MAGIC,
  NBD_OPT_GO,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_SHUTDOWN,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_FLAG_ERROR,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
} from '../wire/nbd-constants.ts'
import { protocolViolation } from '../wire/nbd-errors.ts'

/** A server may name many contexts or infos; we asked for few. */
const REPLIES_PER_OPTION_MAX = 64
/** Payload limit where the server names none (NBD proto.md, "Block size constraints"). */
const DEFAULT_BLOCK_SIZES: BlockSizes = { minimumBytes: 1, preferredBytes: 4096, maximumBytes: 32 * 1024 * 1024 }

/** The bytes of a connection before transmission begins. */
export interface HandshakeChannel {
  /** Exactly so many bytes, the caller's to keep. */
  receive(lengthBytes: number): Promise<Buffer>
  send(bytes: Buffer): void
}

/** What client and server agreed on. */
export interface NbdSession extends ExportInfo {
  readonly blockSizes: BlockSizes
  readonly structuredReplies: boolean
  /** Negotiated contexts' ids, by name. */
  readonly contextIds: ReadonlyMap<string, number>
}

/**
 * The fixed newstyle handshake up to transmission: structured replies, meta contexts, NBD_OPT_GO.
 * Rejects with `nbd.protocol_violation`, `nbd.export_not_found`, `nbd.context_not_found` when the endpoint's dirty context
 * is not there, `nbd.disconnected` when the server shuts down.
 */
export async function performHandshake(channel: HandshakeChannel, endpoint: NbdEndpoint): Promise<NbdSession> {
  await exchangeFlags(channel)
  const structuredReplies = await negotiateStructuredReplies(channel)
  const contextIds = structuredReplies ? await negotiateContexts(channel, endpoint) : new Map<string, number>()
  const { dirtyContext, exportName } = endpoint
  if (dirtyContext !== undefined && !contextIds.has(dirtyContext)) {
    const message = `NBD export "${exportName}" has no context "${dirtyContext}"`
    throw new PlatformError('nbd.context_not_found', message, { details: { exportName, dirtyContext } })
  }
  const exportFacts = await selectExport(channel, exportName)
  return { ...exportFacts, structuredReplies, contextIds }
}

async function exchangeFlags(channel: HandshakeChannel): Promise<void> {
  const greeting = await channel.receive(18)
  if (greeting.readBigUInt64BE(0) !== NBD_MAGIC) throw protocolViolation('the greeting has no NBDMAGIC')
  if (greeting.readBigUInt64BE(8) !== IHAVEOPT) throw protocolViolation('the server speaks only the oldstyle handshake')
  const flags = greeting.readUInt16BE(16)
  if ((flags & NBD_FLAG_FIXED_NEWSTYLE) === 0) throw protocolViolation('the server does not speak fixed newstyle')
  const answer = Buffer.alloc(4)
  const noZeroes = (flags & NBD_FLAG_NO_ZEROES) === 0 ? 0 : NBD_FLAG_C_NO_ZEROES
  answer.writeUInt32BE(NBD_FLAG_C_FIXED_NEWSTYLE | noZeroes, 0)
  channel.send(answer)
}

async function negotiateStructuredReplies(channel: HandshakeChannel): Promise<boolean> {
  channel.send(encodeOption(NBD_OPT_STRUCTURED_REPLY))
  const reply = await receiveReply(channel, NBD_OPT_STRUCTURED_REPLY)
  if (reply.type === NBD_REP_ACK) return true
  if (reply.type >= NBD_REP_FLAG_ERROR) return false
  throw protocolViolation(`reply type ${reply.type} to NBD_OPT_STRUCTURED_REPLY`)
}

async function negotiateContexts(
  channel: HandshakeChannel,
  { exportName, dirtyContext }: NbdEndpoint,
): Promise<Map<string, number>> {
  const asked = dirtyContext === undefined ? [BASE_ALLOCATION] : [BASE_ALLOCATION, dirtyContext]
  channel.send(encodeSetMetaContext(exportName, asked))
  const ids = new Map<string, number>()
  for (let count = 0; count < REPLIES_PER_OPTION_MAX; count += 1) {
    const reply = await receiveReply(channel, NBD_OPT_SET_META_CONTEXT)
    if (reply.type === NBD_REP_ACK) return ids
    if (reply.type === NBD_REP_ERR_UNSUP) return ids
    if (reply.type >= NBD_REP_FLAG_ERROR) throw optionError(reply, exportName)
    if (reply.type !== NBD_REP_META_CONTEXT) throw protocolViolation(`reply type ${reply.type} to a context query`)
    const { id, name } = decodeMetaContext(reply.payload)
    if (!asked.includes(name) || ids.has(name) || [...ids.values()].includes(id)) {
      throw protocolViolation(`context "${name}" was not asked for or comes twice`)
    }
    ids.set(name, id)
  }
  throw protocolViolation('too many replies to NBD_OPT_SET_META_CONTEXT')
}

async function selectExport(
  channel: HandshakeChannel,
  exportName: string,
): Promise<ExportInfo & { readonly blockSizes: BlockSizes }> {
  channel.send(encodeGo(exportName))
  let exportInfo: ExportInfo | undefined
  let blockSizes = DEFAULT_BLOCK_SIZES
  for (let count = 0; count < REPLIES_PER_OPTION_MAX; count += 1) {
    const reply = await receiveReply(channel, NBD_OPT_GO)
    if (reply.type >= NBD_REP_FLAG_ERROR) throw optionError(reply, exportName)
    if (reply.type === NBD_REP_ACK) {
      if (exportInfo === undefined) throw protocolViolation('NBD_OPT_GO without NBD_INFO_EXPORT')
      return { sizeBytes: exportInfo.sizeBytes, flags: exportInfo.flags, blockSizes }
    }
    if (reply.type !== NBD_REP_INFO) throw protocolViolation(`reply type ${reply.type} to NBD_OPT_GO`)
    const info = decodeInfo(reply.payload)
    if (info.kind === 'export') exportInfo = info
    if (info.kind === 'block-size') blockSizes = info
  }
  throw protocolViolation('too many replies to NBD_OPT_GO')
}

interface OptionReply {
  readonly type: number
  readonly payload: Buffer
}

async function receiveReply(channel: HandshakeChannel, option: number): Promise<OptionReply> {
  const header = decodeOptionReplyHeader(await channel.receive(OPTION_REPLY_HEADER_BYTES), option)
  return { type: header.type, payload: await channel.receive(header.lengthBytes) }
}

function optionError({ type, payload }: OptionReply, exportName: string): PlatformError {
  const text = payload.toString('utf8').slice(0, 500)
  const said = text === '' ? '' : `: ${text}`
  const details = { exportName, replyType: type - NBD_REP_FLAG_ERROR }
  switch (type) {
    case NBD_REP_ERR_UNKNOWN:
      return new PlatformError('nbd.export_not_found', `NBD export "${exportName}" is not there${said}`, { details })
    case NBD_REP_ERR_SHUTDOWN:
      return new PlatformError('nbd.disconnected', `NBD server shuts down${said}`, { details })
    case NBD_REP_ERR_POLICY:
    case NBD_REP_ERR_TLS_REQD:
      return new PlatformError('nbd.access_denied', `NBD server refuses export "${exportName}"${said}`, { details })
    default:
      return protocolViolation(`it answers export "${exportName}" with error ${type - NBD_REP_FLAG_ERROR}${said}`)
  }
}
