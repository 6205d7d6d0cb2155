'use client'

import type { LiveEvent } from '@sendense/shared/contracts/api/protection-api.ts'
import { isFinalJobState } from '@sendense/shared/domain/job-state.ts'
import { useQueryClient } from '@tanstack/react-query'
import { useEffect } from 'react'
import { useLiveStatus } from '../../lib/live-status.ts'
import { useTRPC, useTRPCClient, type Api } from '../../lib/trpc.ts'
import { useWatchedJobs } from '../job/watched-jobs.ts'
import { useAnnounceAlert } from './announce-alert.ts'
import { useAnnounceJobEnd } from './announce-job-end.ts'
import { applyLiveEvent, type LiveCacheKeys } from './apply-live-event.ts'
import { InvalidationBatch } from './invalidation-batch.ts'

const BATCH_DELAY_MS = 200

/**
 * Keeps one live stream open while the portal is shown, and the cache current with it. Draws nothing.
 * After an interruption everything is re-read, whatever the stream could resume.
 */
export function LiveStream() {
  const api = useTRPC()
  const client = useTRPCClient()
  const queryClient = useQueryClient()
  const announceJobEnd = useAnnounceJobEnd()
  const announceAlert = useAnnounceAlert()

  useEffect(() => {
    const { setStatus } = useLiveStatus.getState()
    const batch = new InvalidationBatch(BATCH_DELAY_MS, (queryKey) => void queryClient.invalidateQueries({ queryKey }))
    const keys = cacheKeys(api)
    let interrupted = false
    const take = (event: LiveEvent) => {
      batch.add(applyLiveEvent(event, queryClient, keys))
      if (event.type === 'job-changed' && isFinalJobState(event.state)) {
        if (useWatchedJobs.getState().release(event.jobId)) announceJobEnd(event.jobId)
      }
      if (event.type === 'alert-raised' && event.severity === 'critical') announceAlert()
    }
    const subscription = client.live.events.subscribe(
      {},
      {
        onData: (envelope) => take(envelope.data),
        onStarted: () => {
          setStatus('live')
          if (interrupted) void queryClient.invalidateQueries()
          interrupted = false
        },
        onConnectionStateChange: ({ state }) => {
          if (state === 'pending') return
          interrupted ||= useLiveStatus.getState().status === 'live'
          setStatus(interrupted ? 'interrupted' : 'connecting')
        },
        onError: () => setStatus('interrupted'),
      },
    )
    return () => {
      subscription.unsubscribe()
      batch[Symbol.dispose]()
      setStatus('connecting')
    }
  }, [api, client, queryClient, announceJobEnd, announceAlert])

  return null
}

function cacheKeys(api: Api): LiveCacheKeys {
  return {
    jobLists: api.job.list.pathKey(),
    jobDetails: api.job.get.pathKey(),
    vms: api.vm.pathKey(),
    restorePoints: api.restorePoint.pathKey(),
    repositories: api.repository.pathKey(),
    sites: api.site.pathKey(),
    agents: api.agent.pathKey(),
    alerts: api.alert.pathKey(),
  }
}
