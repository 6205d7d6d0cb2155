/** Operations of the FUSE protocol, version 7 (Linux, include/uapi/linux/fuse.h, enum fuse_opcode). */
export const OPCODES = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  DESTROY: 38,
  BATCH_FORGET: 42,
  RENAME2: 45,
} as const
export type OperationName = keyof typeof OPCODES

const NAMES: ReadonlyMap<number, OperationName> = new Map(
  Object.entries(OPCODES).map(([name, code]) => [code, name as OperationName]),
)
const IN_HEADER_BYTES = 40
const OUT_HEADER_BYTES = 16

export interface FuseRequest {
  readonly name: OperationName | undefined
  readonly unique: bigint
  readonly nodeId: number
  /** Behind the header. */
  readonly body: Buffer
}

/** struct fuse_in_header, then the operation's own. Little-endian, as the machine is. */
export function parseRequest(message: Buffer): FuseRequest {
  return {
    name: NAMES.get(message.readUInt32LE(4)),
    unique: message.readBigUInt64LE(8),
    nodeId: Number(message.readBigUInt64LE(16)),
    body: message.subarray(IN_HEADER_BYTES, message.readUInt32LE(0)),
  }
}

/** struct fuse_out_header and what comes behind it. `errno` is positive; 0 is no error. */
export function reply(unique: bigint, errno: number, body: Uint8Array = new Uint8Array(0)): Buffer {
  const header = Buffer.alloc(OUT_HEADER_BYTES)
  header.writeUInt32LE(OUT_HEADER_BYTES + body.length, 0)
  header.writeInt32LE(-errno, 4)
  header.writeBigUInt64LE(unique, 8)
  return Buffer.concat([header, body])
}

/** Zero-terminated names, one behind the other. */
export function namesIn(body: Buffer): string[] {
  return body.toString('utf8').split('\0').slice(0, -1)
}

export interface Attributes {
  readonly ino: bigint
  readonly size: bigint
  readonly blocks: bigint
  readonly atimeNs: bigint
  readonly mtimeNs: bigint
  readonly ctimeNs: bigint
  readonly mode: bigint
  readonly nlink: bigint
}

/** struct fuse_attr. */
export function attributes(found: Attributes): Buffer {
  const out = Buffer.alloc(88)
  const times = [found.atimeNs, found.mtimeNs, found.ctimeNs]
  for (const [index, value] of [found.ino, found.size, found.blocks].entries()) out.writeBigUInt64LE(value, index * 8)
  for (const [index, ns] of times.entries()) {
    out.writeBigUInt64LE(ns / 1_000_000_000n, 24 + index * 8)
    out.writeUInt32LE(Number(ns % 1_000_000_000n), 48 + index * 4)
  }
  out.writeUInt32LE(Number(found.mode), 60)
  out.writeUInt32LE(Number(found.nlink), 64)
  out.writeUInt32LE(4096, 80)
  return out
}

/** struct fuse_attr_out, valid for no time: every look asks again. */
export function attributesOut(found: Attributes): Buffer {
  return Buffer.concat([Buffer.alloc(16), attributes(found)])
}

/** struct fuse_entry_out, valid for no time. */
export function entryOut(nodeId: number, found: Attributes): Buffer {
  const head = Buffer.alloc(40)
  head.writeBigUInt64LE(BigInt(nodeId), 0)
  return Buffer.concat([head, attributes(found)])
}

/** struct fuse_open_out. */
export function openOut(handle: number): Buffer {
  const out = Buffer.alloc(16)
  out.writeBigUInt64LE(BigInt(handle), 0)
  return out
}

/** struct fuse_init_out: version 7.31, writes of up to 128 KiB. */
export function initOut(): Buffer {
  const out = Buffer.alloc(64)
  out.writeUInt32LE(7, 0)
  out.writeUInt32LE(31, 4)
  out.writeUInt32LE(128 * 1024, 8)
  out.writeUInt16LE(12, 16)
  out.writeUInt16LE(9, 18)
  out.writeUInt32LE(128 * 1024, 20)
  out.writeUInt32LE(1, 24)
  return out
}

/** struct fuse_statfs_out. */
export function statfsOut(found: { blocks: number; bfree: number; bavail: number; bsize: number }): Buffer {
  const out = Buffer.alloc(80)
  for (const [index, value] of [found.blocks, found.bfree, found.bavail].entries()) {
    out.writeBigUInt64LE(BigInt(value), index * 8)
  }
  out.writeUInt32LE(found.bsize, 40)
  out.writeUInt32LE(255, 44)
  out.writeUInt32LE(found.bsize, 48)
  return out
}

/** struct fuse_dirent for each name from an index on, as many as fit. */
export function directoryOut(
  names: readonly { readonly name: string; readonly isDirectory: boolean }[],
  from: number,
  maxBytes: number,
): Buffer {
  const entries: Buffer[] = []
  let bytes = 0
  for (const [offset, { name, isDirectory }] of names.slice(from).entries()) {
    const text = Buffer.from(name)
    const entry = Buffer.alloc(Math.ceil((24 + text.length) / 8) * 8)
    entry.writeBigUInt64LE(BigInt(from + offset + 1), 0)
    entry.writeBigUInt64LE(BigInt(from + offset + 1), 8)
    entry.writeUInt32LE(text.length, 16)
    entry.writeUInt32LE(isDirectory ? 4 : 8, 20)
    text.copy(entry, 24)
    if (bytes + entry.length > maxBytes) break
    bytes += entry.length
    entries.push(entry)
  }
  return Buffer.concat(entries)
}
