/**
 * Works on the items in their order, so many at a time. When one fails the signal of the others is aborted, and it rejects with the
 * first error once all have settled: no work goes on behind the caller's back.
 */
export async function runParallel<T>(
  items: Iterable<T> | AsyncIterable<T>,
  { concurrency, signal }: { readonly concurrency: number; readonly signal: AbortSignal },
  work: (item: T, options: { readonly signal: AbortSignal }) => Promise<void>,
): Promise<void> {
  const stop = new AbortController()
  const either = AbortSignal.any([signal, stop.signal])
  const running = new Set<Promise<void>>()
  let failure: { readonly error: unknown } | undefined
  const fail = (error: unknown): void => {
    failure ??= { error }
    stop.abort(error)
  }
  try {
    for await (const item of items) {
      either.throwIfAborted()
      const one: Promise<void> = work(item, { signal: either })
        .catch(fail)
        .finally(() => running.delete(one))
      running.add(one)
      if (running.size >= concurrency) await Promise.race(running)
      if (failure !== undefined) break
    }
  } catch (error) {
    fail(error)
  }
  await Promise.all(running)
  if (failure !== undefined) throw failure.error
}

/** [0, sizeBytes) in ranges of `rangeBytes`, the last one shorter, from `startBytes` on. */
export function* rangesOf(sizeBytes: number, rangeBytes: number, startBytes = 0) {
  for (let offsetBytes = startBytes; offsetBytes < sizeBytes; offsetBytes += rangeBytes) {
    yield { offsetBytes, lengthBytes: Math.min(rangeBytes, sizeBytes - offsetBytes) }
  }
}
