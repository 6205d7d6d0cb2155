'use client'

import { Tooltip as RadixTooltip } from 'radix-ui'
import type { ReactNode } from 'react'

const OPEN_DELAY_MS = 250

export function TooltipProvider({ children }: { children: ReactNode }) {
  return <RadixTooltip.Provider delayDuration={OPEN_DELAY_MS}>{children}</RadixTooltip.Provider>
}

/** More about its only child, on hover and on keyboard focus. Never the only place where something is said. */
export function Tooltip({ content, children }: { content: ReactNode; children: ReactNode }) {
  return (
    <RadixTooltip.Root>
      <RadixTooltip.Trigger asChild>{children}</RadixTooltip.Trigger>
      <RadixTooltip.Portal>
        <RadixTooltip.Content
          sideOffset={6}
          collisionPadding={8}
          className="z-50 max-w-xs animate-appear rounded-md border border-line bg-raised px-2.5 py-1.5 text-xs text-ink shadow-raised"
        >
          {content}
        </RadixTooltip.Content>
      </RadixTooltip.Portal>
    </RadixTooltip.Root>
  )
}
