import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { NbdAddress, NbdTls } from '../../block/block-endpoint.ts'
import {
  type BlockSizes,
  decodeInfo,
  decodeListedExport,
  decodeMetaContext,
  encodeInfoOption,
  encodeMetaContextOption,
  encodeOption,
  type ListedExport,
} from '../wire/handshake-options.ts'
import {
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_DESCRIPTION,
  NBD_INFO_NAME,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
} from '../wire/nbd-constants.ts'
import { protocolViolation } from '../wire/nbd-errors.ts'
import type { ReplyStyle } from '../wire/reply-header.ts'
import { exchangeGreeting, negotiateTls } from './greeting.ts'
import { negotiateReplyStyle } from './handshake.ts'
import { type ChannelOptions, type NbdChannel, withNbdChannel } from './nbd-channel.ts'
import { nameOfAddress } from './nbd-socket.ts'
import { exchangeOption, type HandshakeChannel, isFinalRefusal, refusalError } from './option-exchange.ts'

/** A server that lists more is not heard further. */
const EXPORTS_MAX = 4096
const CONTEXTS_MAX = 1024

export interface NbdExportsOptions extends ChannelOptions {
  readonly tls?: NbdTls | undefined
}

/** What a server says of an export without opening it. */
export interface NbdExportFacts {
  readonly sizeBytes: number
  /** NBD_FLAG_*; `namesOfFlags` has their names. */
  readonly flags: number
  /** Absent: the server names none, and 1 byte, 4 KiB and 32 MiB are usual. */
  readonly blockSizes?: BlockSizes
  /** Meta contexts, as `base:allocation`. Empty where the server has none or does not tell. */
  readonly contexts: readonly string[]
}

export interface NbdExport extends ListedExport {
  /** Absent: the server lists it and does not describe it. */
  readonly facts?: NbdExportFacts
}

export interface NbdServerFacts {
  /** Everything was said over TLS, by a server that proved who it is. */
  readonly isSecure: boolean
  /** The best that the server negotiates. */
  readonly replyStyle: ReplyStyle
}

/**
 * What a server exports, by NBD_OPT_LIST and NBD_OPT_INFO, in its own order.
 * Rejects with `nbd.access_denied` or `nbd.unsupported` when the server does not tell, `nbd.protocol_violation` when it lists
 * over 4096 exports, other `nbd.*`, or the signal's reason.
 */
export async function listNbdExports(
  address: NbdAddress,
  options: NbdExportsOptions,
): Promise<NbdServerFacts & { readonly exports: readonly NbdExport[] }> {
  return await askServer(address, '', options, async (channel, server) => {
    const exports: NbdExport[] = []
    for (const listed of await listExports(channel)) {
      const described = await describeExport(channel, listed.exportName, server.replyStyle)
      const said = described?.description ?? ''
      const description = said === '' ? listed.description : said
      const facts = described === undefined ? {} : { facts: described.facts }
      exports.push({ exportName: listed.exportName, description, ...facts })
    }
    return { ...server, exports }
  })
}

/**
 * What a server says of one export, by NBD_OPT_INFO; the name is the server's own.
 * Rejects with `nbd.export_not_found`, `nbd.unsupported` when the server does not describe exports, other `nbd.*`, or the
 * signal's reason.
 */
export async function describeNbdExport(
  address: NbdAddress,
  exportName: string,
  options: NbdExportsOptions,
): Promise<NbdServerFacts & Required<NbdExport>> {
  return await askServer(address, exportName, options, async (channel, server) => {
    const described = await describeExport(channel, exportName, server.replyStyle, { mustBeThere: true })
    if (described === undefined) throw new PlatformError('nbd.unsupported', 'the NBD server describes no exports')
    return { ...server, ...described }
  })
}

/** Asks in a connection of its own, which ends in order. */
async function askServer<T>(
  address: NbdAddress,
  exportName: string,
  options: NbdExportsOptions,
  ask: (channel: HandshakeChannel, server: NbdServerFacts) => Promise<T>,
): Promise<T> {
  const { tls } = options
  return await withNbdChannel({ address, name: nameOfAddress(address) }, options, async (channel: NbdChannel, call) => {
    const { handshake } = channel
    await exchangeGreeting(handshake)
    if (tls !== undefined) await negotiateTls(handshake, tls, async (use) => await channel.upgrade(use, call))
    const replyStyle = await negotiateReplyStyle(handshake, exportName)
    const answer = await ask(handshake, { isSecure: tls !== undefined, replyStyle })
    channel.leave()
    return answer
  })
}

async function listExports(channel: HandshakeChannel): Promise<ListedExport[]> {
  const listed: ListedExport[] = []
  const end = await exchangeOption(channel, {
    option: NBD_OPT_LIST,
    name: 'NBD_OPT_LIST',
    bytes: encodeOption(NBD_OPT_LIST),
    on: { [NBD_REP_SERVER]: (payload) => void listed.push(decodeListedExport(payload)) },
    repliesMax: EXPORTS_MAX + 1,
  })
  if (end.kind === 'done') return listed
  if (end.type === NBD_REP_ERR_UNSUP) throw new PlatformError('nbd.unsupported', 'the NBD server lists no exports')
  throw refusalError(end, 'the list of exports', '')
}

/** Undefined where the server does not tell; `mustBeThere`: then it rejects with the reason, if there is one. */
async function describeExport(
  channel: HandshakeChannel,
  exportName: string,
  replyStyle: ReplyStyle,
  { mustBeThere = false } = {},
): Promise<Required<NbdExport> | undefined> {
  const infos: ReturnType<typeof decodeInfo>[] = []
  const kinds = [NBD_INFO_NAME, NBD_INFO_DESCRIPTION, NBD_INFO_BLOCK_SIZE]
  const end = await exchangeOption(channel, {
    option: NBD_OPT_INFO,
    name: 'NBD_OPT_INFO',
    bytes: encodeInfoOption(NBD_OPT_INFO, exportName, kinds),
    on: { [NBD_REP_INFO]: (payload) => void infos.push(decodeInfo(payload)) },
  })
  if (end.kind === 'refused') {
    if (isFinalRefusal(end) || (mustBeThere && end.type !== NBD_REP_ERR_UNSUP)) {
      throw refusalError(end, `NBD export "${exportName}"`, exportName)
    }
    return undefined
  }
  const contexts = replyStyle === 'simple' ? [] : await listContexts(channel, exportName)
  let [name, description] = [exportName, '']
  let size: { readonly sizeBytes: number; readonly flags: number } | undefined
  let sizes: { readonly blockSizes?: BlockSizes } = {}
  for (const info of infos) {
    if (info.kind === 'export') size = { sizeBytes: info.sizeBytes, flags: info.flags }
    if (info.kind === 'name') name = info.text
    if (info.kind === 'description') description = info.text
    if (info.kind === 'block-size') sizes = { blockSizes: blockSizesOf(info) }
  }
  if (size === undefined) throw protocolViolation('NBD_OPT_INFO without NBD_INFO_EXPORT')
  return { exportName: name, description, facts: { ...size, ...sizes, contexts } }
}

function blockSizesOf({ minimumBytes, preferredBytes, maximumBytes }: BlockSizes): BlockSizes {
  return { minimumBytes, preferredBytes, maximumBytes }
}

/** All that the server names; ids mean nothing here. A server that lists none is one that has none. */
async function listContexts(channel: HandshakeChannel, exportName: string): Promise<string[]> {
  const names: string[] = []
  const end = await exchangeOption(channel, {
    option: NBD_OPT_LIST_META_CONTEXT,
    name: 'NBD_OPT_LIST_META_CONTEXT',
    bytes: encodeMetaContextOption(NBD_OPT_LIST_META_CONTEXT, exportName, []),
    on: { [NBD_REP_META_CONTEXT]: (payload) => void names.push(decodeMetaContext(payload).name) },
    repliesMax: CONTEXTS_MAX,
  })
  return end.kind === 'done' ? names : []
}
