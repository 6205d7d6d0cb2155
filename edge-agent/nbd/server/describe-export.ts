import { NBD_INFO_DESCRIPTION, NBD_INFO_NAME } from '../wire/nbd-constants.ts'
import { encodeBlockSizeInfo, encodeDescriptionInfo, encodeExportInfo, encodeNameInfo } from '../wire/option-replies.ts'
import type { NegotiatedExport } from './nbd-export.ts'

/**
 * The data of the NBD_REP_INFO replies to NBD_OPT_INFO and NBD_OPT_GO. Size, flags and block sizes are told unasked;
 * unknown questions have no answer (NBD proto.md, "NBD_OPT_INFO").
 * @param isQuestion NBD_OPT_INFO: contexts may still be chosen
 */
export function describeExport(
  { served, style, contexts }: NegotiatedExport,
  asked: readonly number[],
  isQuestion: boolean,
): Buffer[] {
  const flags = served.transmissionFlags(style, isQuestion || contexts.length > 0)
  const infos = [encodeExportInfo({ sizeBytes: served.sizeBytes, flags }), encodeBlockSizeInfo(served.blockSizes)]
  if (asked.includes(NBD_INFO_NAME)) infos.push(encodeNameInfo(served.name))
  const hasDescription = served.description !== '' && asked.includes(NBD_INFO_DESCRIPTION)
  if (hasDescription) infos.push(encodeDescriptionInfo(served.description))
  return infos
}
