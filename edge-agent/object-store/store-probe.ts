/** What can be known of an endpoint only by trying. */
export type ProbedCapability =
  | 'mount'
  | 'file-system'
  | 'free-space'
  | 'clock'
  | 'range-reads'
  | 'multipart'
  | 'payload-hash'
  | 'checksum-headers'
  | 'batch-delete'
  | 'conditional-put'
  | 'versioning'
  | 'object-lock'
  | 'governance'
  | 'compliance'
  | 'legal-hold'
  | 'retention-after-put'
  | 'retention-of-multipart'
  | 'tiers'

/**
 * works: as the vendor's documents say · absent: not there, which is no fault · wrong: there, and does something else than
 * its documents say · unknown: it could not be tried.
 */
export type ProbeOutcome = 'works' | 'absent' | 'wrong' | 'unknown'

export interface ProbeFinding {
  readonly capability: ProbedCapability
  readonly outcome: ProbeOutcome
  /** One sentence for people. */
  readonly detail: string
}

export interface ProbeReport {
  readonly findings: readonly ProbeFinding[]
  /** The product behind the endpoint, as far as its name or its answers tell. */
  readonly vendor: string | undefined
}

/**
 * Tries one capability. What it throws is told as `wrong` where the endpoint answered something, as `unknown` where nothing
 * could be asked.
 */
export async function probe(
  capability: ProbedCapability,
  signal: AbortSignal,
  work: () => Promise<Omit<ProbeFinding, 'capability'>>,
): Promise<ProbeFinding> {
  try {
    return { capability, ...(await work()) }
  } catch (error) {
    signal.throwIfAborted()
    const detail = error instanceof Error ? error.message : String(error)
    return { capability, outcome: 'unknown', detail }
  }
}
