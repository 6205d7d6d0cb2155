import { databaseUrl, DATABASE_OWNER } from '@sendense/infra/stack/postgres.ts'
import postgres from 'postgres'
import { z } from 'zod'
import type { TestStack } from '../harness/test-stack.ts'

/** The cloud's tables as their owner sees them: for what no API tells or lets be done. */
export class CloudDatabase implements AsyncDisposable {
  readonly #sql: postgres.Sql

  constructor({ stack }: TestStack) {
    const { ports, passwords } = stack.settings
    this.#sql = postgres(databaseUrl(ports.postgres, DATABASE_OWNER, passwords.databaseOwner), { max: 1 })
  }

  /** Makes the time of a job's order be over. */
  async expireOrderOf(jobId: string): Promise<void> {
    const changed = await this.#sql`
      update command set expires_at = now() - interval '1 second' where job_id = ${jobId} and state = 'queued'`
    if (changed.count !== 1) throw new Error(`the order of job ${jobId} has been sent already`)
  }

  /** Number of the last command that was given to an agent. */
  async commandSequence(agentId: string): Promise<number> {
    const rows = await this.#sql`select command_sequence as sequence from agent where id = ${agentId}`
    return z.coerce.number().parse(rows[0]?.['sequence'])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sql.end({ timeout: 5 })
  }
}
