import type { AlertView } from '@sendense/shared/contracts/api/alert-api.ts'
import type { AlertSeverity } from '@sendense/shared/domain/alert-severity.ts'
import { alertHeadline } from '@sendense/shared/errors/alert-words.ts'
import { asSentence } from '../../lib/as-sentence.ts'
import type { BadgeTone } from '../../ui/badge.tsx'

export const severityWords: { readonly [S in AlertSeverity]: { readonly tone: BadgeTone; readonly word: string } } = {
  critical: { tone: 'danger', word: 'Critical' },
  warning: { tone: 'warning', word: 'Warning' },
  info: { tone: 'neutral', word: 'Info' },
}

/** What happened, for people. */
export function alertTitle({ error }: Pick<AlertView, 'error'>): string {
  return asSentence(alertHeadline(error))
}

/** How often it happened since the alert of its kind before it: the agent tells one a minute and counts the others. */
export function timesOf({ error }: Pick<AlertView, 'error'>): number {
  const { withheldBefore } = error.details
  const isCount = typeof withheldBefore === 'number' && Number.isSafeInteger(withheldBefore) && withheldBefore > 0
  return isCount ? withheldBefore + 1 : 1
}
