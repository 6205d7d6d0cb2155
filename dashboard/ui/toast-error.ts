import { toast } from 'sonner'
import { errorReportOf } from '../lib/api-error.ts'
import { asSentence } from '../lib/as-sentence.ts'

/** Long enough to read message, advice and code. */
const SHOWN_MS = 15_000

/** Tells why something that was asked for from a list did not happen. In forms, `ErrorNotice` tells it in place. */
export function toastError(error: unknown): void {
  const { message, advice, code } = errorReportOf(error)
  toast.error(asSentence(message), { description: `${advice} (${code})`, duration: SHOWN_MS })
}
