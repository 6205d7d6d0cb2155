import type { AgentView } from '@sendense/shared/contracts/api/fleet-api.ts'
import type { z } from 'zod'
import type { BadgeTone } from '../../ui/badge.tsx'

export type Agent = z.infer<typeof AgentView>

interface PresenceWords {
  readonly tone: BadgeTone
  readonly word: string
  readonly sentence: string
}

export const presenceWords: { readonly [P in Agent['presence']]: PresenceWords } = {
  online: { tone: 'success', word: 'Online', sentence: 'It takes orders now.' },
  stale: {
    tone: 'warning',
    word: 'Stale',
    sentence: 'It has been silent for longer than it should be. Orders wait for it.',
  },
  offline: {
    tone: 'danger',
    word: 'Offline',
    sentence: 'It is not connected. It goes on working by itself; orders wait for it.',
  },
  unknown: { tone: 'neutral', word: 'Unknown', sentence: 'It has not reported yet.' },
}
