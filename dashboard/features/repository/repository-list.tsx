'use client'

import type { RepositoryView } from '@sendense/shared/contracts/api/protection-api.ts'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { useQuery } from '@tanstack/react-query'
import { Database } from 'lucide-react'
import { useTRPC } from '../../lib/trpc.ts'
import { Badge } from '../../ui/badge.tsx'
import { Card } from '../../ui/card.tsx'
import { EmptyState } from '../../ui/empty-state.tsx'
import { ErrorNotice } from '../../ui/error-notice.tsx'
import { MeterBar } from '../../ui/meter-bar.tsx'
import { PageHeader } from '../../ui/page-header.tsx'
import { Skeleton } from '../../ui/skeleton.tsx'
import { StatusDot } from '../../ui/status-dot.tsx'
import { TimeAgo } from '../../ui/time-ago.tsx'
import { repositoryKindWord, repositoryState } from './repository-words.ts'

/** Where restore points are kept, whether they can be reached, and how much room is left. */
export function RepositoryList() {
  const api = useTRPC()
  const repositories = useQuery(api.repository.list.queryOptions())
  return (
    <>
      <PageHeader title="Repositories" subtitle="Restore points stay on your sites’ own storage" />
      {repositories.isLoadingError ? (
        <ErrorNotice error={repositories.error} onRetry={() => void repositories.refetch()} />
      ) : repositories.isPending ? (
        <output aria-label="Loading" className="grid gap-4 xl:grid-cols-2">
          <Skeleton className="h-48" />
          <Skeleton className="h-48" />
        </output>
      ) : repositories.data.length === 0 ? (
        <Card>
          <EmptyState icon={Database} title="No repositories yet">
            An agent reports its repositories as soon as it is online.
          </EmptyState>
        </Card>
      ) : (
        <ul className="grid gap-4 xl:grid-cols-2">
          {repositories.data.map((repository) => (
            <li key={repository.repositoryId}>
              <RepositoryCard repository={repository} />
            </li>
          ))}
        </ul>
      )}
    </>
  )
}

function RepositoryCard({ repository }: { repository: RepositoryView }) {
  const { tone, word, sentence } = repositoryState[repository.state]
  return (
    <Card aria-label={repository.name} className="h-full p-4">
      <div className="flex items-start justify-between gap-4">
        <div className="min-w-0">
          <h2 className="font-semibold wrap-anywhere">{repository.name}</h2>
          <p className="text-sm text-ink-muted">
            {repository.siteName} · {repositoryKindWord[repository.kind]}
          </p>
        </div>
        <Badge tone={tone}>
          <StatusDot tone={tone} />
          {word}
        </Badge>
      </div>
      <p className="mt-3 rounded-md bg-inset px-2.5 py-1.5 font-mono text-xs wrap-anywhere">{repository.location}</p>
      {repository.state === 'ready' ? null : <p className="mt-3 text-sm text-danger">{sentence}</p>}
      <Capacity repository={repository} />
      <dl className="mt-4 grid grid-cols-3 gap-4 text-sm">
        <div>
          <dt className="text-xs text-ink-muted">Restore points</dt>
          <dd className="mt-0.5 text-lg font-semibold">{repository.restorePointCount}</dd>
        </div>
        <div>
          <dt className="text-xs text-ink-muted">They take</dt>
          <dd className="mt-0.5 text-lg font-semibold">{formatByteSize(repository.storedBytes)}</dd>
        </div>
        <div>
          <dt className="text-xs text-ink-muted">Checked</dt>
          <dd className="mt-1">
            <TimeAgo at={repository.checkedAt} />
          </dd>
        </div>
      </dl>
    </Card>
  )
}

function Capacity({ repository: { name, capacityBytes, freeBytes } }: { repository: RepositoryView }) {
  if (capacityBytes === null || freeBytes === null) {
    return <p className="mt-4 text-sm text-ink-muted">Its size is not known at the moment.</p>
  }
  const usedBytes = capacityBytes - freeBytes
  return (
    <div className="mt-4">
      <div className="mb-1.5 flex justify-between gap-4 text-sm">
        <span>{formatByteSize(freeBytes)} free</span>
        <span className="text-ink-muted">of {formatByteSize(capacityBytes)}</span>
      </div>
      <MeterBar label={`Used space of ${name}`} used={usedBytes} total={capacityBytes} />
    </div>
  )
}
