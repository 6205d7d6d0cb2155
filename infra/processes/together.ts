/** Starts one line of work; it gets a signal that fires when any line has failed. */
export type Lane = <T>(work: (signal: AbortSignal) => Promise<T>) => Promise<T>

/**
 * Runs work whose lines go on at the same time. When one fails, the others are told by their signal, all are waited for,
 * and the first failure is thrown: nothing goes on behind the caller's back.
 */
export async function together<T>(signal: AbortSignal, work: (lane: Lane) => Promise<T>): Promise<T> {
  const failed = new AbortController()
  const both = AbortSignal.any([signal, failed.signal])
  const lanes: Promise<unknown>[] = []
  const lane: Lane = (run) => {
    const running = run(both)
    lanes.push(running)
    running.catch((error: unknown) => failed.abort(error))
    return running
  }
  try {
    return await work(lane)
  } catch (error) {
    failed.abort(error)
    await Promise.allSettled(lanes)
    throw failed.signal.reason
  }
}
