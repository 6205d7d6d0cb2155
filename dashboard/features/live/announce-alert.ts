'use client'

import { useRouter } from 'next/navigation'
import { useCallback } from 'react'
import { toast } from 'sonner'
import { usePermission } from '../session/session-context.ts'

const SHOWN_MS = 20_000

/** Returns a function that tells of a new critical alert, with the way to it; many in a row are one message. */
export function useAnnounceAlert(): () => void {
  const router = useRouter()
  const permitted = usePermission('alert.read')
  return useCallback(() => {
    if (!permitted || globalThis.location.pathname === '/alerts') return
    toast.error('A critical alert was raised', {
      id: 'critical-alert',
      description: 'Something should not have happened. The alert says what, and what to do.',
      action: { label: 'Show alerts', onClick: () => router.push('/alerts') },
      duration: SHOWN_MS,
    })
  }, [router, permitted])
}
