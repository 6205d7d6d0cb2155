// A program of its own: FUSE requests on descriptor 3 are done in the directory of the first argument. Before each, the
// file of the second argument is read: lines such as `WRITE EIO` are errors that the operation is answered with.
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmdirSync,
  statfsSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { constants as system } from 'node:os'
import path from 'node:path'
import {
  attributesOut,
  directoryOut,
  entryOut,
  type FuseRequest,
  initOut,
  namesIn,
  openOut,
  type OperationName,
  parseRequest,
  reply,
  statfsOut,
} from './fuse-wire.ts'

const DEVICE = 3
const ROOT_NODE = 1
const MESSAGE_MAX_BYTES = 256 * 1024
const FATTR_SIZE = 8
const UNANSWERED: readonly (OperationName | undefined)[] = ['FORGET', 'BATCH_FORGET', 'INTERRUPT']
/** Access modes and flags that may be passed on to the directory below. */
const OPEN_FLAGS = constants.O_RDONLY | constants.O_WRONLY | constants.O_RDWR | constants.O_APPEND | constants.O_EXCL

const [directory = '', faultFile = ''] = process.argv.slice(2)
const nodes = new Map<number, string>([[ROOT_NODE, '.']])
const nodeIds = new Map<string, number>([['.', ROOT_NODE]])

type Operation = (request: FuseRequest) => Uint8Array

const operations: Readonly<Partial<Record<OperationName, Operation>>> = {
  INIT: () => initOut(),
  LOOKUP: (request) => entry(childPath(request)),
  GETATTR: ({ nodeId }) => attributesOut(statSync(real(nodeId), { bigint: true })),
  SETATTR: ({ nodeId, body }) => {
    if ((body.readUInt32LE(0) & FATTR_SIZE) !== 0) {
      const file = openSync(real(nodeId), 'r+')
      ftruncateSync(file, Number(body.readBigUInt64LE(16)))
      closeSync(file)
    }
    return attributesOut(statSync(real(nodeId), { bigint: true }))
  },
  MKDIR: (request) => {
    const made = childPath(request, 8)
    mkdirSync(path.join(directory, made), { mode: 0o700 })
    return entry(made)
  },
  UNLINK: (request) => {
    unlinkSync(path.join(directory, childPath(request)))
    return new Uint8Array(0)
  },
  RMDIR: (request) => {
    rmdirSync(path.join(directory, childPath(request)))
    return new Uint8Array(0)
  },
  RENAME: (request) => rename(request, 8),
  RENAME2: (request) => rename(request, 16),
  OPEN: ({ nodeId, body }) => openOut(openSync(real(nodeId), body.readUInt32LE(0) & OPEN_FLAGS)),
  CREATE: (request) => {
    const made = childPath(request, 16)
    const flags = (request.body.readUInt32LE(0) & OPEN_FLAGS) | constants.O_CREAT
    const file = openSync(path.join(directory, made), flags, request.body.readUInt32LE(4) & 0o777)
    return Buffer.concat([entry(made), openOut(file)])
  },
  READ: ({ body }) => {
    const into = Buffer.alloc(body.readUInt32LE(16))
    const count = readSync(handleOf(body), into, 0, into.length, Number(body.readBigUInt64LE(8)))
    return into.subarray(0, count)
  },
  WRITE: ({ body }) => {
    const bytes = body.subarray(40, 40 + body.readUInt32LE(16))
    const out = Buffer.alloc(8)
    out.writeUInt32LE(writeSync(handleOf(body), bytes, 0, bytes.length, Number(body.readBigUInt64LE(8))), 0)
    return out
  },
  FSYNC: ({ body }) => {
    fsyncSync(handleOf(body))
    return new Uint8Array(0)
  },
  FLUSH: () => new Uint8Array(0),
  RELEASE: ({ body }) => {
    closeSync(handleOf(body))
    return new Uint8Array(0)
  },
  OPENDIR: ({ nodeId }) => openOut(openSync(real(nodeId), 'r')),
  READDIR: ({ nodeId, body }) => {
    const names = readdirSync(real(nodeId), { withFileTypes: true })
    const entries = names.map((found) => ({ name: found.name, isDirectory: found.isDirectory() }))
    return directoryOut(entries, Number(body.readBigUInt64LE(8)), body.readUInt32LE(16))
  },
  RELEASEDIR: ({ body }) => {
    closeSync(handleOf(body))
    return new Uint8Array(0)
  },
  FSYNCDIR: ({ body }) => {
    fsyncSync(handleOf(body))
    return new Uint8Array(0)
  },
  STATFS: () => statfsOut(statfsSync(directory)),
  ACCESS: () => new Uint8Array(0),
  DESTROY: () => new Uint8Array(0),
}

const message = Buffer.alloc(MESSAGE_MAX_BYTES)
for (;;) {
  const bytes = readMessage()
  if (bytes === undefined) break
  const request = parseRequest(message.subarray(0, bytes))
  if (UNANSWERED.includes(request.name)) continue
  writeSync(DEVICE, answerTo(request))
}

/** Undefined when it is unmounted. */
function readMessage(): number | undefined {
  try {
    return readSync(DEVICE, message, 0, message.length, null)
  } catch (error) {
    if (codeOf(error) === 'ENODEV') return undefined
    // ENOENT: the request was interrupted before it could be read (fuse(4)).
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'EINTR') return readMessage()
    throw error
  }
}

function answerTo(request: FuseRequest): Buffer {
  const operation = request.name === undefined ? undefined : operations[request.name]
  if (operation === undefined) return reply(request.unique, system.errno.ENOSYS)
  try {
    const fault = faultOf(request.name)
    if (fault !== undefined) return reply(request.unique, fault)
    return reply(request.unique, 0, operation(request))
  } catch (error) {
    const code = codeOf(error) as keyof typeof system.errno
    return reply(request.unique, system.errno[code] ?? system.errno.EIO)
  }
}

function faultOf(name: OperationName | undefined): number | undefined {
  for (const line of readFileSync(faultFile, 'utf8').split('\n')) {
    const [operation, code] = line.split(' ')
    if (operation === name) return system.errno[code as keyof typeof system.errno]
  }
  return undefined
}

function rename({ nodeId, body }: FuseRequest, skipBytes: number): Uint8Array {
  const [oldName = '', newName = ''] = namesIn(body.subarray(skipBytes))
  const from = path.join(pathOf(nodeId), oldName)
  const to = path.join(pathOf(Number(body.readBigUInt64LE(0))), newName)
  renameSync(path.join(directory, from), path.join(directory, to))
  const moved = nodeIds.get(from)
  nodeIds.delete(from)
  if (moved !== undefined) {
    nodes.set(moved, to)
    nodeIds.set(to, moved)
  }
  return new Uint8Array(0)
}

function entry(found: string): Buffer {
  const stats = statSync(path.join(directory, found), { bigint: true })
  let nodeId = nodeIds.get(found)
  if (nodeId === undefined) {
    nodeId = nodes.size + ROOT_NODE + 1
    nodes.set(nodeId, found)
    nodeIds.set(found, nodeId)
  }
  return entryOut(nodeId, stats)
}

function childPath({ nodeId, body }: FuseRequest, skipBytes = 0): string {
  const [name = ''] = namesIn(body.subarray(skipBytes))
  return path.join(pathOf(nodeId), name)
}

function pathOf(nodeId: number): string {
  const found = nodes.get(nodeId)
  if (found === undefined) throw Object.assign(new Error('a node that nobody looked up'), { code: 'ESTALE' })
  return found
}

function real(nodeId: number): string {
  return path.join(directory, pathOf(nodeId))
}

function handleOf(body: Buffer): number {
  const handle = Number(body.readBigUInt64LE(0))
  fstatSync(handle)
  return handle
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'EIO'
}
