/** Waits for all, so that nothing of theirs is in use any more, then rejects with the first failure if there is one. */
export async function settleAll(works: readonly Promise<unknown>[]): Promise<void> {
  if (works.length === 1) {
    await works[0]
    return
  }
  const ends = await Promise.allSettled(works)
  for (const end of ends) if (end.status === 'rejected') throw end.reason
}
