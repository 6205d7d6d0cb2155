'use client'

import { useMutation, useQueryClient } from '@tanstack/react-query'
import { toast } from 'sonner'
import { countOf } from '../../lib/count-of.ts'
import { useTRPC } from '../../lib/trpc.ts'
import { toastError } from '../../ui/toast-error.ts'
import { alertTitle } from './alert-words.ts'

/** Acknowledges alerts, says so, and re-reads what is shown. */
export function useAcknowledge({ onDone }: { onDone?: () => void } = {}) {
  const api = useTRPC()
  const queryClient = useQueryClient()
  return useMutation(
    api.alert.acknowledge.mutationOptions({
      onSuccess: async (alerts) => {
        const [first, ...others] = alerts
        if (first !== undefined) {
          const description = others.length === 0 ? alertTitle(first) : countOf(alerts.length, 'alert')
          toast.success('Acknowledged', { description })
        }
        onDone?.()
        await queryClient.invalidateQueries(api.alert.pathFilter())
      },
      onError: toastError,
    }),
  )
}
