import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import { probeAzureContainer } from './azure-blob/probe-azure-container.ts'
import { probeDirectory } from './local/probe-directory.ts'
import type { ObjectStoreConfig } from './object-store-config.ts'
import type { CallOptions, ObjectStore } from './object-store.ts'
import { guessVendor } from './quirk-table.ts'
import { probeS3Endpoint } from './s3/probe-s3-endpoint.ts'
import { probe, type ProbeFinding, type ProbeReport } from './store-probe.ts'

const SKEW_NOTICED_MS = 5000
const SERVER_NAME_TIMEOUT_MS = 10_000

export interface ProbeStoreOptions extends CallOptions {
  /** Ends with a slash. What the probe puts below it stays; whoever calls deletes it. */
  readonly prefix: string
  /** What the probe locks stays until then. */
  readonly retainUntil: Date
  readonly clock?: Pick<Clock, 'now'>
}

/**
 * Tries what the endpoint behind a config really does, by requests of its own kind. Findings tell of one thing each; an
 * endpoint that cannot be asked at all rejects.
 * @param store opened from the same config
 */
export async function probeStore(
  config: ObjectStoreConfig,
  store: ObjectStore,
  options: ProbeStoreOptions,
): Promise<ProbeReport> {
  const clock = await probe('clock', options.signal, async () => await compareClocks(store, options))
  const { findings, vendor } = await probeKind(config, options)
  return { findings: [clock, ...findings], vendor }
}

async function probeKind(config: ObjectStoreConfig, options: ProbeStoreOptions): Promise<ProbeReport> {
  const { signal } = options
  switch (config.kind) {
    case 'directory':
      return { vendor: undefined, findings: await probeDirectory(config, signal) }
    case 's3': {
      const { kind: _, ...settings } = config
      const endpoint = settings.endpoint ?? `https://s3.${settings.region}.amazonaws.com`
      return { vendor: await findVendor(endpoint, signal), findings: await probeS3Endpoint(settings, options) }
    }
    case 'azure-blob': {
      const { kind: _, ...settings } = config
      const endpoint = settings.endpoint ?? `https://${settings.account}.blob.core.windows.net`
      return { vendor: await findVendor(endpoint, signal), findings: await probeAzureContainer(settings, options) }
    }
    default:
      return config satisfies never
  }
}

/** By the date that the store gives a new object. */
async function compareClocks(
  store: ObjectStore,
  { prefix, signal, clock = systemClock }: ProbeStoreOptions,
): Promise<Omit<ProbeFinding, 'capability'>> {
  const key = `${prefix}clock`
  const before = clock.now()
  await store.put(key, Buffer.from('what time is it'), { signal })
  const facts = await store.find(key, { signal })
  if (facts === undefined) return { outcome: 'wrong', detail: 'an object is not there just after it was put' }
  const aheadMs = facts.modifiedAt.getTime() - before.getTime()
  const seconds = Math.round(aheadMs / 1000)
  if (Math.abs(aheadMs) < SKEW_NOTICED_MS) return { outcome: 'works', detail: 'its clock and ours agree' }
  const text = `its clock is ${Math.abs(seconds)} s ${seconds > 0 ? 'ahead of' : 'behind'} ours`
  return { outcome: 'wrong', detail: text }
}

/** What a server calls itself is a hint: one that does not answer here has none. */
async function findVendor(endpoint: string, signal: AbortSignal): Promise<string | undefined> {
  const { host, hostname } = new URL(endpoint)
  const known = guessVendor(hostname, undefined)
  if (known !== undefined) return known
  const either = AbortSignal.any([signal, AbortSignal.timeout(SERVER_NAME_TIMEOUT_MS)])
  const answer = await fetch(endpoint, { method: 'GET', signal: either, redirect: 'manual' }).catch(() => undefined)
  await answer?.body?.cancel()
  const headers = answer?.headers
  // radosgw names itself in its request ids only: tx…-…-….
  const isCeph = /^tx[0-9a-f]{10,}-/.test(headers?.get('x-amz-request-id') ?? '')
  return guessVendor(host, isCeph ? 'Ceph' : (headers?.get('server') ?? undefined))
}
