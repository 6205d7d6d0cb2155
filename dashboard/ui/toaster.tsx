'use client'

import { Toaster as SonnerToaster } from 'sonner'

/** Where short messages appear. Errors that need reading are shown in place, not here. */
export function Toaster() {
  return (
    <SonnerToaster
      position="bottom-right"
      theme="system"
      toastOptions={{
        classNames: {
          toast:
            '!rounded-lg !border !border-line !bg-raised !text-ink !shadow-raised !font-sans !text-base !gap-3 !items-start',
          title: '!font-medium',
          description: '!text-ink-muted !text-sm',
          actionButton: '!bg-transparent !text-accent !font-medium !px-1 !text-sm',
          icon: '!mt-0.5',
          success: '[&_[data-icon]]:!text-success',
          error: '[&_[data-icon]]:!text-danger',
        },
      }}
    />
  )
}
