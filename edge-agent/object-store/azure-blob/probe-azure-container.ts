import { probe, type ProbedCapability, type ProbeFinding, type ProbeOutcome } from '../store-probe.ts'
import { AzureStoreConfig, type AzureStoreSettings } from './azure-config.ts'
import { AzureSession } from './azure-session.ts'
import { askContainer, type ContainerFacts } from './azure-store.ts'
import { toPolicy, uploadBlob } from './azure-upload.ts'
import { toRetention } from './azure-versions.ts'

interface ProbeOptions {
  readonly signal: AbortSignal
  /** Ends with a slash; below the store's own prefix. */
  readonly prefix: string
  /** Objects that are locked by the probe stay until then. */
  readonly retainUntil: Date
}

type Found = Omit<ProbeFinding, 'capability'>

/** What a container really does. Leaves objects under the prefix; whoever calls deletes them. */
export async function probeAzureContainer(
  settings: AzureStoreSettings,
  options: ProbeOptions,
): Promise<ProbeFinding[]> {
  const session = new AzureSession(AzureStoreConfig.parse(settings))
  const { signal } = options
  const container = await askContainer(session, { signal })
  const trials: [ProbedCapability, () => Promise<Found>][] = [
    ['versioning', async () => await tryVersions(session, options)],
    ['payload-hash', async () => await tryMd5(session, options)],
    ['tiers', async () => await tryTiers(session, container, options)],
    ['object-lock', async () => tellImmutability(container)],
  ]
  if (container.immutable) {
    trials.push(
      ['governance', async () => await tryRetention(session, options, 'governance')],
      ['compliance', async () => await tryRetention(session, options, 'compliance')],
      ['legal-hold', async () => await tryLegalHold(session, options)],
    )
  }
  const findings: ProbeFinding[] = []
  for (const [capability, work] of trials) findings.push(await probe(capability, signal, work))
  return findings
}

function tellImmutability({ immutable }: ContainerFacts): Found {
  return immutable
    ? found('works', 'version-level immutability is on')
    : found('absent', 'version-level immutability is off: who holds the keys can delete everything')
}

async function tryVersions(session: AzureSession, { signal, prefix }: ProbeOptions): Promise<Found> {
  const versionId = await uploadBlob(session, `${prefix}version`, Buffer.from('x'), { signal })
  return versionId === undefined
    ? found('absent', 'an object has one content; what is overwritten or deleted is gone')
    : found('works', 'old versions are kept')
}

async function tryMd5(session: AzureSession, { signal, prefix }: ProbeOptions): Promise<Found> {
  const refused = await session
    .request({ signal, what: 'trying a wrong checksum' }, async ({ abortSignal }) => {
      const blobHTTPHeaders = { blobContentMD5: new Uint8Array(16) }
      await session.blockBlob(`${prefix}md5`).upload('x', 1, { abortSignal, blobHTTPHeaders })
      return false
    })
    .catch((error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'storage.checksum_mismatch') return true
      throw error
    })
  return refused
    ? found('works', 'a body that is not what its checksum says is refused')
    : found('wrong', 'a body that is not what its MD5 says was taken')
}

async function tryTiers(
  session: AzureSession,
  { tiered }: ContainerFacts,
  { signal, prefix }: ProbeOptions,
): Promise<Found> {
  if (!tiered) return found('absent', 'the account has no access tiers, or does not tell')
  await uploadBlob(session, `${prefix}tier`, Buffer.from('x'), { signal })
  const tier = await session.request({ signal, what: 'trying tiers' }, async ({ abortSignal }) => {
    await session.blob(`${prefix}tier`).setAccessTier('Cool', { abortSignal })
    return (await session.blob(`${prefix}tier`).getProperties({ abortSignal })).accessTier
  })
  return tier === 'Cool'
    ? found('works', 'objects can be moved to the cool tier and the archive')
    : found('wrong', `an object that was moved to Cool is told to be in ${tier}`)
}

async function tryRetention(
  session: AzureSession,
  { signal, prefix, retainUntil }: ProbeOptions,
  mode: 'governance' | 'compliance',
): Promise<Found> {
  const key = `${prefix}retention-${mode}`
  await uploadBlob(session, key, Buffer.from('locked for a moment'), { signal, retention: { mode, retainUntil } })
  const answer = await session.request({ signal, what: 'reading a retention' }, async ({ abortSignal }) =>
    session.blob(key).getProperties({ abortSignal }),
  )
  const told = toRetention(key, answer.immutabilityPolicyExpiresOn, answer.immutabilityPolicyMode)
  const isSame = told?.mode === mode && told.retainUntil.getTime() === retainUntil.getTime()
  const { policyMode } = toPolicy({ mode, retainUntil })
  return isSame
    ? found('works', `a policy in mode ${policyMode} can be read as soon as the object is put`)
    : found('wrong', `the policy reads as ${JSON.stringify(told)} just after the put`)
}

async function tryLegalHold(session: AzureSession, { signal, prefix }: ProbeOptions): Promise<Found> {
  await uploadBlob(session, `${prefix}hold`, Buffer.from('x'), { signal })
  await session.request({ signal, what: 'trying a legal hold' }, async ({ abortSignal }) => {
    for (const held of [true, false]) await session.blob(`${prefix}hold`).setLegalHold(held, { abortSignal })
  })
  return found('works', 'an object can be held and released')
}

function found(outcome: ProbeOutcome, detail: string): Found {
  return { outcome, detail }
}
