export const commandStates = [
  'queued',
  'published',
  'accepted',
  'running',
  'succeeded',
  'failed',
  'rejected',
  'cancelled',
  'expired',
  'unknown',
] as const
export type CommandState = (typeof commandStates)[number]

/** What may follow each state of a command row in the cloud. Reports may skip states, never go back. */
export const commandTransitions: { readonly [S in CommandState]: readonly CommandState[] } = {
  queued: ['published', 'accepted', 'running', 'succeeded', 'failed', 'rejected', 'cancelled', 'expired', 'unknown'],
  published: ['accepted', 'running', 'succeeded', 'failed', 'rejected', 'cancelled', 'expired', 'unknown'],
  accepted: ['running', 'succeeded', 'failed', 'cancelled', 'unknown'],
  running: ['succeeded', 'failed', 'cancelled', 'unknown'],
  // A result that arrives late is still the truth.
  expired: ['accepted', 'running', 'succeeded', 'failed', 'rejected', 'cancelled'],
  unknown: ['accepted', 'running', 'succeeded', 'failed', 'rejected', 'cancelled'],
  succeeded: [],
  failed: [],
  rejected: [],
  cancelled: [],
}

export function canCommandMove(from: CommandState, to: CommandState): boolean {
  return commandTransitions[from].includes(to)
}

export function isFinalCommandState(state: CommandState): boolean {
  return commandTransitions[state].length === 0
}
