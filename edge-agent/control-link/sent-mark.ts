import type { Catalogue, CatalogueTransaction } from '../catalog/catalogue.ts'

/** Notes that events up to `sequence` may be with the cloud; in the transaction before they are sent. */
export async function noteSent(tx: CatalogueTransaction, sequence: number): Promise<void> {
  if (sequence > (await readSentMark(tx))) await tx.settings.setNumber('event-sent', sequence)
}

/** Highest event sequence that this catalogue ever let go; 0 at first. */
export async function readSentMark(tx: CatalogueTransaction): Promise<number> {
  return await tx.settings.getNumber('event-sent')
}

/**
 * The cloud has events up to `sequence`. Where this catalogue never sent so many, it was lost or set back and others
 * of its numbers are taken: what it numbered since then is made to follow `sequence`, and true is returned. What it
 * had sent before is the same on both sides.
 */
export async function followCloud(
  catalogue: Catalogue,
  sequence: number,
  { signal }: { readonly signal: AbortSignal },
): Promise<boolean> {
  return await catalogue.transaction(
    async (tx) => {
      const sent = await readSentMark(tx)
      if (sequence <= sent) return false
      await tx.outbox.trim(sent)
      await tx.outbox.moveBehind(sequence)
      await noteSent(tx, sequence)
      return true
    },
    { signal },
  )
}
