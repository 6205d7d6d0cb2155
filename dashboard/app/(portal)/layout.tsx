import type { ReactNode } from 'react'
import { LiveStream } from '../../features/live/live-stream.tsx'
import { SessionGate } from '../../features/session/session-gate.tsx'
import { PortalShell } from '../../features/shell/portal-shell.tsx'
import { TooltipProvider } from '../../ui/tooltip.tsx'

export default function PortalLayout({ children }: { children: ReactNode }) {
  return (
    <SessionGate>
      <LiveStream />
      <TooltipProvider>
        <PortalShell>{children}</PortalShell>
      </TooltipProvider>
    </SessionGate>
  )
}
