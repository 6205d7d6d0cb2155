import { readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { waitUntil } from '@sendense/infra/processes/wait-until.ts'
import { isFinalJobState } from '@sendense/shared/domain/job-state.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { TestStack } from '../harness/test-stack.ts'

const MIDDLE_TIMEOUT_MS = 60_000
const BYTES_ENOUGH = 1024 * 1024
/** The repository is looked at often, the job seldom: a backup that fails at once must not be waited for. */
const POLLS_PER_LOOK = 200

/** An agent that stands still in the middle of a backup: data was written, nothing is sealed. */
export interface StoppedAgent {
  readonly jobId: string
  /** Lets it go on. */
  resume(): void
}

/**
 * Starts a backup and stops the agent (SIGSTOP) once it has written to the repository. Rejects when the backup
 * was over first: then there was too little to copy.
 */
export async function stopMidBackup(product: TestStack, mode: 'auto' | 'full'): Promise<StoppedAgent> {
  const { owner, vm } = product
  const agentPid = product.agentPid()
  const sealed = (await manifestsOf(product)).length
  const { jobId } = await owner.startBackup(vm.vmId, { mode })
  const repositoryDir = product.stack.paths.repositoryDir
  let polls = 0
  let job = await owner.api.job.get.query({ jobId })
  const isWriting = async () => {
    if ((await partialBytes(repositoryDir)) > BYTES_ENOUGH) return true
    polls += 1
    if (polls % POLLS_PER_LOOK === 0) job = await owner.api.job.get.query({ jobId })
    return isFinalJobState(job.state)
  }
  await waitUntil('the backup to write', isWriting, { ...within(MIDDLE_TIMEOUT_MS), pauseMs: 2 })
  process.kill(agentPid, 'SIGSTOP')
  if (isFinalJobState(job.state) || (await manifestsOf(product)).length !== sealed) {
    process.kill(agentPid, 'SIGCONT')
    throw new PlatformError(
      'internal.unexpected',
      `the backup had ended before its agent was stopped: ${job.state} ${job.error?.message ?? ''}`,
    )
  }
  return { jobId, resume: () => process.kill(agentPid, 'SIGCONT') }
}

/** Names of the sealed manifests of the stack's VM, as they lie in the repository. */
export async function manifestsOf(product: TestStack): Promise<string[]> {
  const dir = path.join(product.stack.paths.repositoryDir, 'rp', product.vm.vmId)
  return (await readdir(dir).catch(() => [])).filter((name) => name.endsWith('.json'))
}

/** What lies in the repository's place for unfinished backups. */
export async function partialFiles(repositoryDir: string): Promise<string[]> {
  const entries = await readdir(path.join(repositoryDir, '.partial'), { recursive: true, withFileTypes: true }).catch(
    () => [],
  )
  return entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name))
}

export function within(timeoutMs: number): { signal: AbortSignal; timeoutMs: number } {
  return { signal: AbortSignal.timeout(timeoutMs), timeoutMs }
}

/** How much lies in the repository's place for unfinished backups. */
export async function partialBytes(repositoryDir: string): Promise<number> {
  let sum = 0
  for (const file of await partialFiles(repositoryDir)) sum += (await stat(file)).size
  return sum
}
