import { createPrivateKey, X509Certificate } from 'node:crypto'
import { chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type SignedEnvelope,
  SignedEnvelope as Envelope,
  KeyDelegation,
  TrustRoot,
} from '@sendense/shared/contracts/signed-envelope.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import {
  exportSigningKey,
  generateSigningKey,
  importSigningKey,
  signDelegation,
  type SigningKey,
} from '@sendense/shared/runtime/signing.ts'
import {
  createFleetCa,
  issueClientCertificate,
  issueServerCertificate,
  type KeyAndCertificate,
  needsRenewal,
} from './certificates.ts'

const DELEGATION_DAYS = 90
const DAY_MS = 24 * 3_600_000
/** CN of the cloud at the broker; the broker's access list names it. */
const CLOUD_PRINCIPAL = 'cloud'

/** What a running cloud needs of the key directory. The root key is not among it. */
export interface CloudKeys {
  readonly fleetCa: KeyAndCertificate
  readonly mqtt: KeyAndCertificate
  /** Signs what goes to agents; `delegation` goes along. */
  readonly online: SigningKey
  readonly delegation: NonNullable<SignedEnvelope['delegation']>
  readonly trustRoot: TrustRoot
}

/**
 * Makes what is missing in the key directory and renews what ends within a third of its life; may run at
 * every start. Keys are readable by their owner only.
 * @param brokerHosts names and addresses that clients reach the broker by
 * @returns names of the files written now
 */
export async function initKeys(directory: string, brokerHosts: readonly string[], now: Date): Promise<string[]> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const written: string[] = []
  const put = async (name: string, text: string): Promise<void> => {
    await writeAtomically(join(directory, name), text)
    written.push(name)
  }
  const putPair = async (name: string, pair: KeyAndCertificate): Promise<void> => {
    await put(`${name}.key`, pair.key)
    await put(`${name}.crt`, pair.certificate)
  }
  let ca = await findPair(directory, 'fleet-ca')
  const isNewCa = ca === undefined
  if (ca === undefined) await putPair('fleet-ca', (ca = await createFleetCa(now)))
  const broker = await findPair(directory, 'broker')
  if (isNewCa || broker === undefined || needsRenewal(broker.certificate, brokerHosts, now)) {
    await putPair('broker', await issueServerCertificate(ca, brokerHosts, now))
  }
  const mqtt = await findPair(directory, 'cloud-mqtt')
  if (isNewCa || mqtt === undefined || needsRenewal(mqtt.certificate, [], now)) {
    await putPair('cloud-mqtt', await issueClientCertificate(ca, CLOUD_PRINCIPAL, now))
  }
  await initCommandKeys(directory, put, now)
  return written
}

async function initCommandKeys(
  directory: string,
  put: (name: string, text: string) => Promise<void>,
  now: Date,
): Promise<void> {
  const root = await findSigningKey(directory, 'command-root.pem')
  const rootKey = root ?? generateSigningKey()
  if (root === undefined) {
    await put('command-root.pem', exportSigningKey(rootKey))
    const keys = [{ keyId: rootKey.keyId, publicKey: rootKey.publicKey }]
    await put('trust-root.json', JSON.stringify({ version: 1, keys } satisfies TrustRoot))
  }
  const online = await findSigningKey(directory, 'command-online.pem')
  const onlineKey = online ?? generateSigningKey()
  if (online === undefined) await put('command-online.pem', exportSigningKey(onlineKey))
  const delegationText = await find(directory, 'delegation.json')
  if (root !== undefined && online !== undefined && delegationText !== undefined && isFresh(delegationText, now)) return
  const delegation: KeyDelegation = {
    version: 1,
    keyId: onlineKey.keyId,
    publicKey: onlineKey.publicKey,
    classes: ['read', 'operate'],
    notBefore: new Date(now.getTime() - DAY_MS / 24).toISOString(),
    notAfter: new Date(now.getTime() + DELEGATION_DAYS * DAY_MS).toISOString(),
  }
  await put('delegation.json', JSON.stringify(signDelegation(delegation, rootKey)))
}

/** Rejects with `config.invalid` where something is missing or cannot be read. */
export async function loadCloudKeys(directory: string): Promise<CloudKeys> {
  try {
    const read = (name: string) => readFile(join(directory, name), 'utf8')
    const pair = async (name: string): Promise<KeyAndCertificate> => ({
      certificate: await read(`${name}.crt`),
      key: await read(`${name}.key`),
    })
    return {
      fleetCa: await pair('fleet-ca'),
      mqtt: await pair('cloud-mqtt'),
      online: importSigningKey(await read('command-online.pem')),
      delegation: parseDelegation(await read('delegation.json')),
      trustRoot: TrustRoot.parse(JSON.parse(await read('trust-root.json'))),
    }
  } catch (error) {
    throw new PlatformError('config.invalid', `the key directory ${directory} is not complete: run init-keys`, {
      cause: error,
    })
  }
}

function parseDelegation(text: string): NonNullable<SignedEnvelope['delegation']> {
  return Envelope.shape.delegation.unwrap().parse(JSON.parse(text))
}

function isFresh(delegationText: string, now: Date): boolean {
  const { payload } = parseDelegation(delegationText)
  const delegation = KeyDelegation.parse(JSON.parse(Buffer.from(payload, 'base64').toString('utf8')))
  return Date.parse(delegation.notAfter) - now.getTime() > (DELEGATION_DAYS * DAY_MS) / 3
}

async function findPair(directory: string, name: string): Promise<KeyAndCertificate | undefined> {
  const [certificate, key] = [await find(directory, `${name}.crt`), await find(directory, `${name}.key`)]
  if (certificate === undefined || key === undefined) return undefined
  // The process may have ended between the two files.
  return new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key)) ? { certificate, key } : undefined
}

async function findSigningKey(directory: string, name: string): Promise<SigningKey | undefined> {
  const pem = await find(directory, name)
  return pem === undefined ? undefined : importSigningKey(pem)
}

async function find(directory: string, name: string): Promise<string | undefined> {
  try {
    return await readFile(join(directory, name), 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

async function writeAtomically(path: string, text: string): Promise<void> {
  const mode = path.endsWith('.crt') || path.endsWith('trust-root.json') ? 0o644 : 0o600
  await writeFile(`${path}.new`, text, { mode })
  await chmod(`${path}.new`, mode)
  await rename(`${path}.new`, path)
}
