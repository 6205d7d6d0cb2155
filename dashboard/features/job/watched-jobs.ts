import { create } from 'zustand'

interface WatchedJobs {
  readonly jobIds: ReadonlySet<string>
  watch: (jobId: string) => void
  /** True where it was watched; it is not any more. */
  release: (jobId: string) => boolean
}

/** Jobs that were started in this tab: their end is announced, other people's are not. */
export const useWatchedJobs = create<WatchedJobs>((set, get) => ({
  jobIds: new Set(),
  watch: (jobId) => set(({ jobIds }) => ({ jobIds: new Set(jobIds).add(jobId) })),
  release: (jobId) => {
    if (!get().jobIds.has(jobId)) return false
    set(({ jobIds }) => ({ jobIds: new Set([...jobIds].filter((other) => other !== jobId)) }))
    return true
  },
}))
