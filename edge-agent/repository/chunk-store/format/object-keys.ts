import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { isPackId, isUuid } from './identity-bytes.ts'

export const DESCRIPTOR_KEY = 'repo.json'
/** What keys of each kind begin with. */
export const prefixes = {
  keyFiles: 'keys/',
  packs: 'packs/',
  indexDeltas: 'idx/',
  packSets: 'sets/',
  manifests: 'rp/',
  leases: 'leases/',
  condemnedLists: 'condemned/',
  quarantineLists: 'quarantine/',
  signers: 'signers/',
} as const

const NUMBER_DIGITS = 8
const NUMBER_MAX = 99_999_999
const RING_ID = /^[0-9a-f]{16}$/
const KEY_ID = /^[0-9a-f]{32}$/
const TIME = /^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2}\.\d{3}Z)$/

/** Which ring a key file is of: a number that grows, and 64 random bits that tell two of one number apart. */
export interface RingName {
  readonly ringNumber: number
  /** 16 hexadecimal digits. */
  readonly ringId: string
}

export function keyFileKey(ring: RingName, recipientId: string): string {
  if (!RING_ID.test(ring.ringId)) throw noPartOf(ring.ringId, 'a ring id')
  return `${prefixes.keyFiles}${digits(ring.ringNumber)}-${ring.ringId}/${uuid(recipientId)}.json`
}

export function parseKeyFileKey(key: string): (RingName & { readonly recipientId: string }) | undefined {
  const [number, ringId, recipientId] = /^keys\/(\d{8})-([^/]+)\/([^/]+)\.json$/.exec(key)?.slice(1) ?? []
  if (number === undefined || ringId === undefined || recipientId === undefined) return undefined
  if (!RING_ID.test(ringId) || !isUuid(recipientId)) return undefined
  return { ringNumber: Number(number), ringId, recipientId }
}

export interface PackPlace {
  readonly packId: string
  readonly generation: number
}

export function packKey(pack: PackPlace): string {
  if (!isPackId(pack.packId)) throw noPartOf(pack.packId, 'a pack id')
  return `${prefixes.packs}${digits(pack.generation)}/${pack.packId.slice(0, 2)}/${pack.packId}`
}

export function parsePackKey(key: string): PackPlace | undefined {
  const [generation, folder, packId] = /^packs\/(\d{8})\/([^/]{2})\/([^/]+)$/.exec(key)?.slice(1) ?? []
  if (generation === undefined || packId === undefined || !isPackId(packId) || !packId.startsWith(folder ?? ' ')) {
    return undefined
  }
  return { packId, generation: Number(generation) }
}

export interface IndexPlace {
  readonly indexId: string
  readonly generation: number
}

export function indexDeltaKey(index: IndexPlace): string {
  return `${prefixes.indexDeltas}${digits(index.generation)}/${uuid(index.indexId)}`
}

export function parseIndexDeltaKey(key: string): IndexPlace | undefined {
  const [generation, indexId] = /^idx\/(\d{8})\/([^/]+)$/.exec(key)?.slice(1) ?? []
  if (generation === undefined || indexId === undefined || !isUuid(indexId)) return undefined
  return { indexId, generation: Number(generation) }
}

export interface PackSetPlace {
  readonly vmId: string
  readonly restorePointId: string
  /** 0 at the sealing, higher after copying forward; the highest counts. */
  readonly revision: number
}

export function packSetKey(set: PackSetPlace): string {
  return `${packSetPrefix(set)}${digits(set.revision)}`
}

/** What all revisions of one restore point begin with. */
export function packSetPrefix(set: Omit<PackSetPlace, 'revision'>): string {
  return `${prefixes.packSets}${uuid(set.vmId)}/${uuid(set.restorePointId)}.`
}

export function parsePackSetKey(key: string): PackSetPlace | undefined {
  const [vmId, restorePointId, revision] = /^sets\/([^/]+)\/([^/.]+)\.(\d{8})$/.exec(key)?.slice(1) ?? []
  if (vmId === undefined || restorePointId === undefined || !isUuid(vmId) || !isUuid(restorePointId)) return undefined
  return { vmId, restorePointId, revision: Number(revision) }
}

export interface ManifestPlace {
  readonly vmId: string
  readonly restorePointId: string
  /** ISO 8601, UTC, with milliseconds. Keys of one VM sort by it. */
  readonly takenAt: string
}

export function manifestKey(manifest: ManifestPlace): string {
  const { vmId, restorePointId, takenAt } = manifest
  const time = new Date(takenAt)
  if (Number.isNaN(time.getTime()) || time.getUTCFullYear() < 0 || time.getUTCFullYear() > 9999) {
    throw noPartOf(takenAt, 'a time')
  }
  const compact = time.toISOString().replaceAll('-', '').replaceAll(':', '')
  return `${prefixes.manifests}${uuid(vmId)}/${compact}-${uuid(restorePointId)}`
}

/** `takenAt` with milliseconds. */
export function parseManifestKey(key: string): ManifestPlace | undefined {
  const [vmId, compact, restorePointId] = /^rp\/([^/]+)\/([^/-]+)-([^/]+)$/.exec(key)?.slice(1) ?? []
  const time = TIME.exec(compact ?? '')
  if (vmId === undefined || restorePointId === undefined || time === null) return undefined
  if (!isUuid(vmId) || !isUuid(restorePointId)) return undefined
  const [, year, month, day, hour, minute, rest] = time
  const takenAt = `${year}-${month}-${day}T${hour}:${minute}:${rest}`
  const parsed = new Date(takenAt)
  if (Number.isNaN(parsed.getTime()) || parsed.toISOString() !== takenAt) return undefined
  return { vmId, restorePointId, takenAt }
}

export interface LeasePlace {
  readonly writerId: string
  /** Grows by one with each heartbeat, from 0. */
  readonly counter: number
}

export function leaseKey(lease: LeasePlace): string {
  return `${leasePrefix(lease.writerId)}${digits(lease.counter)}`
}

export function leasePrefix(writerId: string): string {
  return `${prefixes.leases}${uuid(writerId)}/`
}

/** While this object is there, the writer may not seal. */
export function fenceKey(writerId: string): string {
  return `${leasePrefix(writerId)}fenced`
}

export function parseLeaseKey(
  key: string,
): LeasePlace | { readonly writerId: string; readonly fenced: true } | undefined {
  const [writerId, name] = /^leases\/([^/]+)\/(\d{8}|fenced)$/.exec(key)?.slice(1) ?? []
  if (writerId === undefined || !isUuid(writerId)) return undefined
  return name === 'fenced' ? { writerId, fenced: true } : { writerId, counter: Number(name) }
}

export function condemnedListKey(runId: string): string {
  return `${prefixes.condemnedLists}${uuid(runId)}`
}

export function parseCondemnedListKey(key: string): { readonly runId: string } | undefined {
  const runId = key.startsWith(prefixes.condemnedLists) ? key.slice(prefixes.condemnedLists.length) : ''
  return isUuid(runId) ? { runId } : undefined
}

const SWEPT = '.swept'

/** Beside a condemned list: none of its packs is there any more. */
export function sweptKey(runId: string): string {
  return `${condemnedListKey(runId)}${SWEPT}`
}

export function parseSweptKey(key: string): { readonly runId: string } | undefined {
  return key.endsWith(SWEPT) ? parseCondemnedListKey(key.slice(0, -SWEPT.length)) : undefined
}

export function quarantineListKey(quarantineId: string): string {
  return `${prefixes.quarantineLists}${uuid(quarantineId)}`
}

export function parseQuarantineListKey(key: string): { readonly quarantineId: string } | undefined {
  const quarantineId = key.startsWith(prefixes.quarantineLists) ? key.slice(prefixes.quarantineLists.length) : ''
  return isUuid(quarantineId) ? { quarantineId } : undefined
}

/** Where the public key is that verifies what the key of this id signed. */
export function signerKey(keyId: string): string {
  if (!KEY_ID.test(keyId)) throw noPartOf(keyId, 'the id of a signing key')
  return `${prefixes.signers}${keyId}`
}

export function parseSignerKey(key: string): { readonly keyId: string } | undefined {
  const keyId = key.startsWith(prefixes.signers) ? key.slice(prefixes.signers.length) : ''
  return KEY_ID.test(keyId) ? { keyId } : undefined
}

/** Of one length, so that keys sort as their numbers do. */
function digits(number: number): string {
  if (!Number.isInteger(number) || number < 0 || number > NUMBER_MAX) throw noPartOf(String(number), 'a number')
  return String(number).padStart(NUMBER_DIGITS, '0')
}

function uuid(text: string): string {
  if (!isUuid(text)) throw noPartOf(text, 'a UUID')
  return text
}

function noPartOf(text: string, wanted: string): PlatformError {
  return new PlatformError('input.invalid', `not ${wanted} for an object's key: ${JSON.stringify(text)}`)
}
