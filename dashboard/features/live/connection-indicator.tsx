'use client'

import { useLiveStatus, type LiveStatus } from '../../lib/live-status.ts'
import type { BadgeTone } from '../../ui/badge.tsx'
import { StatusDot } from '../../ui/status-dot.tsx'
import { Tooltip } from '../../ui/tooltip.tsx'

const words: { readonly [S in LiveStatus]: { tone: BadgeTone; word: string; more: string } } = {
  live: { tone: 'success', word: 'Live', more: 'What you see follows the control plane as it happens.' },
  connecting: { tone: 'neutral', word: 'Connecting', more: 'The live connection is being opened.' },
  interrupted: {
    tone: 'warning',
    word: 'Reconnecting',
    more: 'The live connection is interrupted. Pages are re-read every few seconds until it is back.',
  },
}

/** Says whether the screen is current. */
export function ConnectionIndicator() {
  const { tone, word, more } = words[useLiveStatus((live) => live.status)]
  return (
    <Tooltip content={more}>
      <output
        aria-label={`Live connection: ${word}`}
        className="inline-flex items-center gap-2 rounded-md px-2 py-1 text-xs text-ink-muted"
      >
        <StatusDot tone={tone} pulsing={tone !== 'success'} />
        {word}
      </output>
    </Tooltip>
  )
}
