import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { CliConfig } from './config.ts'

export interface TextOutput {
  write(text: string): unknown
  readonly isTTY?: boolean
  readonly columns?: number
}

/** What a run of the client has of the world; tests pass their own. */
export interface CliContext {
  readonly config: CliConfig
  readonly stdout: TextOutput
  readonly stderr: TextOutput
  readonly stdin: NodeJS.ReadStream
  readonly clock: Clock
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal
}

/** How a command ended that was not refused: one of exit-codes.ts. */
export type CommandOutcome = Promise<number>
