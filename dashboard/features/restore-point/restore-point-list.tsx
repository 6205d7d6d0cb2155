'use client'

import type { RestorePointView, VmView } from '@sendense/shared/contracts/api/protection-api.ts'
import { useQuery } from '@tanstack/react-query'
import { History } from 'lucide-react'
import { useState } from 'react'
import { useTRPC } from '../../lib/trpc.ts'
import { Card, CardHeader } from '../../ui/card.tsx'
import { EmptyState } from '../../ui/empty-state.tsx'
import { ErrorNotice } from '../../ui/error-notice.tsx'
import { SkeletonRows } from '../../ui/skeleton.tsx'
import { RestoreDialog } from './restore-dialog.tsx'
import { RestorePointChart } from './restore-point-chart.tsx'
import { RestorePointTable } from './restore-point-table.tsx'

const CHART_POINTS_MIN = 3

/** The instants this VM can go back to, newest first. */
export function RestorePointList({ vm }: { vm: VmView }) {
  const api = useTRPC()
  const points = useQuery(api.restorePoint.list.queryOptions({ vmId: vm.vmId }))
  const [restoring, setRestoring] = useState<RestorePointView | null>(null)
  return (
    <Card>
      <CardHeader
        title="Restore points"
        note={points.data === undefined || points.data.length === 0 ? undefined : points.data.length}
      />
      {points.isLoadingError ? (
        <ErrorNotice className="m-4" error={points.error} onRetry={() => void points.refetch()} />
      ) : points.isPending ? (
        <SkeletonRows />
      ) : points.data.length === 0 ? (
        <EmptyState icon={History} title="No restore points yet">
          Back up this VM once, and from then on you can go back to that instant.
        </EmptyState>
      ) : (
        <>
          {points.data.length >= CHART_POINTS_MIN ? <RestorePointChart points={points.data} /> : null}
          <RestorePointTable points={points.data} onRestore={setRestoring} />
        </>
      )}
      <RestoreDialog point={restoring} onClose={() => setRestoring(null)} />
    </Card>
  )
}
