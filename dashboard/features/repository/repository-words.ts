import type { RepositoryView } from '@sendense/shared/contracts/api/protection-api.ts'
import type { BadgeTone } from '../../ui/badge.tsx'

interface StateWords {
  readonly tone: BadgeTone
  readonly word: string
  /** What it means for backups and restores. */
  readonly sentence: string
}

export const repositoryState: { readonly [S in RepositoryView['state']]: StateWords } = {
  ready: { tone: 'success', word: 'Ready', sentence: 'Backups and restores can use it.' },
  missing: {
    tone: 'danger',
    word: 'Missing',
    sentence: 'Its storage is not there now. Mount or reconnect it; nothing in it was changed.',
  },
  failed: {
    tone: 'danger',
    word: 'Failed',
    sentence: 'Its storage answers with errors. Check it before the next backup.',
  },
}

export const repositoryKindWord: { readonly [K in RepositoryView['kind']]: string } = {
  'qcow2-chain': 'QCOW2 chain',
  'chunk-store': 'Deduplicating',
}
