import type { AgentCommand, AgentCommandOf } from '@sendense/shared/contracts/agent-command.ts'
import type { CallOptions } from '../block/block-source.ts'
import type { CommandContext } from './command-context.ts'

export interface ReceivedCommand<T extends AgentCommand['type']> {
  readonly commandId: string
  readonly command: AgentCommandOf<T>
}

/**
 * Runs one command. `done`: it has had its effect. `dispatched`: a job answers for it from now on; the handler has
 * marked it so in the transaction that made the job. Rejects with the PlatformError it failed with.
 * May be called again with the same command after a stop: the command's ids are the keys of its effects.
 */
export type CommandHandler<T extends AgentCommand['type']> = (
  received: ReceivedCommand<T>,
  context: CommandContext,
  options: CallOptions,
) => Promise<'done' | 'dispatched'>
