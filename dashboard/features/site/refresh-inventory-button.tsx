'use client'

import { useMutation } from '@tanstack/react-query'
import { RefreshCw } from 'lucide-react'
import { toast } from 'sonner'
import { useTRPC } from '../../lib/trpc.ts'
import { Button } from '../../ui/button.tsx'
import { toastError } from '../../ui/toast-error.ts'
import { usePermission } from '../session/session-context.ts'
import type { Agent } from './presence-words.ts'

/** Asks the agent to look at its platforms and repositories now. The answer arrives as a live change. */
export function RefreshInventoryButton({ agent }: { agent: Agent }) {
  const api = useTRPC()
  const permitted = usePermission('inventory.refresh')
  const refresh = useMutation(
    api.agent.refreshInventory.mutationOptions({
      onSuccess: () => {
        toast.success(`${agent.hostname} was asked for its inventory`, {
          description:
            agent.presence === 'online'
              ? 'The lists change as soon as it answers.'
              : 'It is not online: the order waits for it.',
        })
      },
      onError: toastError,
    }),
  )
  if (!permitted) return null
  return (
    <Button size="sm" busy={refresh.isPending} onClick={() => refresh.mutate({ agentId: agent.agentId })}>
      {refresh.isPending ? null : <RefreshCw aria-hidden />}
      Refresh inventory
    </Button>
  )
}
