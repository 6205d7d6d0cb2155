import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { NbdEndpoint } from '../../block/block-endpoint.ts'
import {
  type BlockSizes,
  decodeExportFacts,
  decodeInfo,
  decodeMetaContext,
  encodeGo,
  encodeOption,
  encodeSetMetaContext,
  type ExportInfo,
} from '../wire/handshake-options.ts'
import {
  BASE_ALLOCATION,
  NBD_FLAG_HAS_FLAGS,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_GO,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
} from '../wire/nbd-constants.ts'
import { protocolViolation } from '../wire/nbd-errors.ts'
import type { ReplyStyle } from '../wire/reply-header.ts'
import { exchangeGreeting, negotiateTls, type UpgradeToTls } from './greeting.ts'
import { exchangeOption, type HandshakeChannel, isFinalRefusal, refusalError } from './option-exchange.ts'

/** Payload limit where the server names none (NBD proto.md, "Size constraints"). */
const DEFAULT_BLOCK_SIZES: BlockSizes = { minimumBytes: 1, preferredBytes: 4096, maximumBytes: 32 * 1024 * 1024 }
const EXPORT_FACTS_BYTES = 10
const EXPORT_NAME_ZEROES_BYTES = 124

/** What client and server agreed on. */
export interface NbdSession extends ExportInfo {
  readonly blockSizes: BlockSizes
  /** Of everything the server answers; extended: of the requests too. */
  readonly replyStyle: ReplyStyle
  /** Negotiated contexts' ids, by name. They are this connection's own. */
  readonly contextIds: ReadonlyMap<string, number>
}

/**
 * The fixed newstyle handshake up to transmission: TLS where the endpoint asks for it, extended headers or else structured
 * replies, meta contexts, NBD_OPT_GO or for old servers NBD_OPT_EXPORT_NAME.
 * Rejects with `nbd.protocol_violation`, `nbd.export_not_found`, `nbd.context_not_found` when the endpoint's dirty context
 * is not there, `nbd.access_denied`, `nbd.tls_failed`, `nbd.disconnected` when the server shuts down.
 */
export async function performHandshake(
  channel: HandshakeChannel,
  endpoint: NbdEndpoint,
  upgrade: UpgradeToTls,
): Promise<NbdSession> {
  const { noZeroes } = await exchangeGreeting(channel)
  const { dirtyContext, exportName, tls } = endpoint
  if (tls !== undefined) await negotiateTls(channel, tls, upgrade)
  const replyStyle = await negotiateReplyStyle(channel, exportName)
  const contextIds = replyStyle === 'simple' ? new Map<string, number>() : await negotiateContexts(channel, endpoint)
  if (dirtyContext !== undefined && !contextIds.has(dirtyContext)) {
    const message = `NBD export "${exportName}" has no context "${dirtyContext}"`
    throw new PlatformError('nbd.context_not_found', message, { details: { exportName, dirtyContext } })
  }
  const facts = await selectExport(channel, exportName, { noZeroes, isExtended: replyStyle === 'extended' })
  expectUsable(facts, exportName)
  return { ...facts, replyStyle, contextIds }
}

/** Extended headers, else structured replies, else simple ones. Rejects where the server does nothing without TLS. */
export async function negotiateReplyStyle(channel: HandshakeChannel, exportName: string): Promise<ReplyStyle> {
  const styles = [
    { style: 'extended', option: NBD_OPT_EXTENDED_HEADERS, name: 'NBD_OPT_EXTENDED_HEADERS' },
    { style: 'structured', option: NBD_OPT_STRUCTURED_REPLY, name: 'NBD_OPT_STRUCTURED_REPLY' },
  ] as const
  for (const { style, option, name } of styles) {
    const end = await exchangeOption(channel, { option, name, bytes: encodeOption(option) })
    if (end.kind === 'done') return style
    if (isFinalRefusal(end)) throw refusalError(end, `NBD export "${exportName}"`, exportName)
  }
  return 'simple'
}

/** A server without contexts, or one that does not give them, is lived with. */
async function negotiateContexts(
  channel: HandshakeChannel,
  { exportName, dirtyContext }: NbdEndpoint,
): Promise<Map<string, number>> {
  const asked = dirtyContext === undefined ? [BASE_ALLOCATION] : [BASE_ALLOCATION, dirtyContext]
  const ids = new Map<string, number>()
  const onContext = (payload: Buffer): void => {
    const { id, name } = decodeMetaContext(payload)
    if (!asked.includes(name) || ids.has(name) || [...ids.values()].includes(id)) {
      throw protocolViolation(`context "${name}" was not asked for or comes twice`)
    }
    ids.set(name, id)
  }
  const end = await exchangeOption(channel, {
    option: NBD_OPT_SET_META_CONTEXT,
    name: 'NBD_OPT_SET_META_CONTEXT',
    bytes: encodeSetMetaContext(exportName, asked),
    on: { [NBD_REP_META_CONTEXT]: onContext },
  })
  if (end.kind === 'done') return ids
  const isFinal = isFinalRefusal(end) || end.type === NBD_REP_ERR_UNKNOWN
  if (isFinal) throw refusalError(end, `NBD export "${exportName}"`, exportName)
  return new Map()
}

type ExportFacts = ExportInfo & { readonly blockSizes: BlockSizes }

async function selectExport(
  channel: HandshakeChannel,
  exportName: string,
  { noZeroes, isExtended }: { readonly noZeroes: boolean; readonly isExtended: boolean },
): Promise<ExportFacts> {
  let exportInfo: ExportInfo | undefined
  let blockSizes = DEFAULT_BLOCK_SIZES
  const onInfo = (payload: Buffer): void => {
    const info = decodeInfo(payload)
    if (info.kind === 'export') exportInfo = { sizeBytes: info.sizeBytes, flags: info.flags }
    if (info.kind === 'block-size') blockSizes = info
  }
  const end = await exchangeOption(channel, {
    option: NBD_OPT_GO,
    name: 'NBD_OPT_GO',
    bytes: encodeGo(exportName),
    on: { [NBD_REP_INFO]: onInfo },
  })
  if (end.kind === 'done') {
    if (exportInfo === undefined) throw protocolViolation('NBD_OPT_GO without NBD_INFO_EXPORT')
    return { ...exportInfo, blockSizes }
  }
  if (end.type === NBD_REP_ERR_UNSUP && !isExtended) return await selectOldExport(channel, exportName, noZeroes)
  throw refusalError(end, `NBD export "${exportName}"`, exportName)
}

/** A server from before NBD_OPT_GO: one that does not like the name just closes the connection. */
async function selectOldExport(channel: HandshakeChannel, exportName: string, noZeroes: boolean): Promise<ExportFacts> {
  channel.send(encodeOption(NBD_OPT_EXPORT_NAME, Buffer.from(exportName, 'utf8')))
  const facts = decodeExportFacts(await channel.receive(EXPORT_FACTS_BYTES))
  if (!noZeroes) await channel.receive(EXPORT_NAME_ZEROES_BYTES)
  return { ...facts, blockSizes: DEFAULT_BLOCK_SIZES }
}

/**
 * @throws PlatformError `nbd.protocol_violation` without NBD_FLAG_HAS_FLAGS, or when the disk ends within a block of the
 *   server's minimum size: its last bytes could never be read
 */
function expectUsable({ sizeBytes, flags, blockSizes }: ExportFacts, exportName: string): void {
  if ((flags & NBD_FLAG_HAS_FLAGS) === 0) throw protocolViolation(`transmission flags 0x${flags.toString(16)}`)
  if (sizeBytes % blockSizes.minimumBytes === 0) return
  const blocks = `blocks of ${blockSizes.minimumBytes} bytes`
  throw protocolViolation(`export "${exportName}" of ${sizeBytes} bytes is to be used in ${blocks}`, { sizeBytes })
}
