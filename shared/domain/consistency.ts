/** What a restore point's data is consistent with, best first: applications flushed, file systems frozen, or as after a power cut. */
export const consistencyLevels = ['application', 'filesystem', 'crash'] as const
export type ConsistencyLevel = (typeof consistencyLevels)[number]
