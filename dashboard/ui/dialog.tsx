'use client'

import { X } from 'lucide-react'
import { Dialog as RadixDialog } from 'radix-ui'
import type { ReactNode } from 'react'
import { Button } from './button.tsx'

export interface DialogProps {
  open: boolean
  onOpenChange: (open: boolean) => void
  title: string
  /** One sentence under the title: what this does. */
  description: ReactNode
  children: ReactNode
}

/** A modal dialog: focus stays inside, Escape and a click beside it close it. */
export function Dialog({ open, onOpenChange, title, description, children }: DialogProps) {
  return (
    <RadixDialog.Root open={open} onOpenChange={onOpenChange}>
      <RadixDialog.Portal>
        <RadixDialog.Overlay className="fixed inset-0 z-40 grid animate-appear items-end justify-items-center overflow-y-auto bg-scrim p-0 sm:place-items-center sm:p-6">
          <RadixDialog.Content className="relative z-50 w-full animate-appear rounded-t-xl border border-line bg-raised shadow-raised outline-none sm:max-w-lg sm:rounded-xl">
            <div className="px-5 pt-5 pr-12">
              <RadixDialog.Title className="text-lg font-semibold tracking-[-0.01em] wrap-anywhere">
                {title}
              </RadixDialog.Title>
              <RadixDialog.Description className="mt-1 text-sm text-ink-muted">{description}</RadixDialog.Description>
            </div>
            {children}
            <RadixDialog.Close asChild>
              <Button variant="quiet" size="icon" aria-label="Close" className="absolute top-3.5 right-3.5">
                <X aria-hidden />
              </Button>
            </RadixDialog.Close>
          </RadixDialog.Content>
        </RadixDialog.Overlay>
      </RadixDialog.Portal>
    </RadixDialog.Root>
  )
}

export function DialogBody({ children }: { children: ReactNode }) {
  return <div className="flex flex-col gap-4 px-5 py-4">{children}</div>
}

export function DialogFooter({ children }: { children: ReactNode }) {
  return (
    <div className="flex flex-wrap items-center justify-end gap-2 rounded-b-xl border-t border-line bg-inset/50 px-5 py-3.5">
      {children}
    </div>
  )
}
