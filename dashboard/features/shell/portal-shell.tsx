'use client'

import { Menu as MenuIcon, X } from 'lucide-react'
import Link from 'next/link'
import { usePathname } from 'next/navigation'
import { Dialog as RadixDialog } from 'radix-ui'
import { useState, type ReactNode } from 'react'
import { BrandMark } from '../../ui/brand-mark.tsx'
import { Button } from '../../ui/button.tsx'
import { ConnectionIndicator } from '../live/connection-indicator.tsx'
import { UserMenu } from '../session/user-menu.tsx'
import { CommandPalette } from './command-palette.tsx'
import { Navigation } from './navigation.tsx'

/** Sidebar beside the page on wide screens; a bar above it, with the same in a drawer, on narrow ones. */
export function PortalShell({ children }: { children: ReactNode }) {
  return (
    <div className="min-h-dvh lg:grid lg:grid-cols-[15rem_minmax(0,1fr)]">
      <a
        href="#content"
        className="sr-only focus:not-sr-only focus:fixed focus:top-2 focus:left-2 focus:z-50 focus:rounded-md focus:bg-raised focus:px-3 focus:py-2"
      >
        Skip to content
      </a>
      <aside className="sticky top-0 hidden h-dvh flex-col border-r border-line bg-surface lg:flex">
        <SidebarContent />
      </aside>
      <NarrowBar />
      <main id="content" className="mx-auto w-full max-w-352 px-4 py-5 sm:px-6 lg:px-8 lg:py-7">
        {children}
      </main>
    </div>
  )
}

function SidebarContent() {
  return (
    <>
      <Link href="/" aria-label="Sendense, overview" className="mx-4 mt-4 mb-4 self-start rounded-md">
        <BrandMark />
      </Link>
      <div className="px-3 pb-3">
        <CommandPalette />
      </div>
      <Navigation />
      <div className="mt-auto border-t border-line p-2">
        <ConnectionIndicator />
        <UserMenu />
      </div>
    </>
  )
}

function NarrowBar() {
  const path = usePathname()
  // The drawer belongs to the page it was opened on: following a link closes it.
  const [openOn, setOpenOn] = useState<string | null>(null)
  return (
    <div className="sticky top-0 z-30 flex h-13 items-center justify-between border-b border-line bg-surface px-4 lg:hidden">
      <Link href="/" aria-label="Sendense, overview" className="rounded-md">
        <BrandMark />
      </Link>
      <RadixDialog.Root open={openOn === path} onOpenChange={(open) => setOpenOn(open ? path : null)}>
        <RadixDialog.Trigger asChild>
          <Button variant="quiet" size="icon" aria-label="Menu">
            <MenuIcon aria-hidden />
          </Button>
        </RadixDialog.Trigger>
        <RadixDialog.Portal>
          <RadixDialog.Overlay className="fixed inset-0 z-40 bg-scrim" />
          <RadixDialog.Content
            aria-describedby={undefined}
            className="fixed inset-y-0 left-0 z-50 flex w-72 max-w-[85vw] flex-col border-r border-line bg-surface shadow-raised outline-none"
          >
            <RadixDialog.Title className="sr-only">Menu</RadixDialog.Title>
            <RadixDialog.Close asChild>
              <Button variant="quiet" size="icon" aria-label="Close menu" className="absolute top-3 right-3">
                <X aria-hidden />
              </Button>
            </RadixDialog.Close>
            <SidebarContent />
          </RadixDialog.Content>
        </RadixDialog.Portal>
      </RadixDialog.Root>
    </div>
  )
}
