export const jobStates = ['queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled'] as const
export type JobState = (typeof jobStates)[number]

/**
 * What may follow each state of a job. `running → queued` is the restart of the agent in the middle:
 * the job is put back and runs again from its start or its last sealed part.
 */
export const jobTransitions: { readonly [S in JobState]: readonly JobState[] } = {
  queued: ['running', 'cancelled', 'failed'],
  running: ['succeeded', 'failed', 'cancelling', 'cancelled', 'queued'],
  cancelling: ['cancelled', 'succeeded', 'failed'],
  succeeded: [],
  failed: [],
  cancelled: [],
}

export function isFinalJobState(state: JobState): boolean {
  return jobTransitions[state].length === 0
}

export function canJobMove(from: JobState, to: JobState): boolean {
  return jobTransitions[from].includes(to)
}
