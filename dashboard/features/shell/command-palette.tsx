'use client'

import { useQuery } from '@tanstack/react-query'
import { Search } from 'lucide-react'
import { useRouter } from 'next/navigation'
import { Dialog as RadixDialog } from 'radix-ui'
import { useEffect, useId, useState, type KeyboardEvent } from 'react'
import { classNames } from '../../lib/class-names.ts'
import { useTRPC } from '../../lib/trpc.ts'
import { useSession } from '../session/session-context.ts'
import { searchPalette, type PaletteEntry } from './palette-search.ts'
import { placesFor } from './places.ts'

/** Jump to any page or VM by name: a button, and Ctrl+K or ⌘K. */
export function CommandPalette() {
  const [open, setOpen] = useState(false)
  useEffect(() => {
    const openByKey = (event: globalThis.KeyboardEvent) => {
      if (event.key.toLowerCase() !== 'k' || !(event.ctrlKey || event.metaKey)) return
      event.preventDefault()
      setOpen((before) => !before)
    }
    document.addEventListener('keydown', openByKey)
    return () => document.removeEventListener('keydown', openByKey)
  }, [])
  return (
    <RadixDialog.Root open={open} onOpenChange={setOpen}>
      <RadixDialog.Trigger className="flex h-8.5 w-full items-center gap-2 rounded-md border border-line bg-canvas px-2.5 text-sm text-ink-muted hover:border-line-strong">
        <Search aria-hidden className="size-4" />
        Go to…
        <kbd aria-hidden className="ml-auto rounded border border-line bg-surface px-1 font-mono text-[0.6875rem]">
          Ctrl K
        </kbd>
      </RadixDialog.Trigger>
      <RadixDialog.Portal>
        <RadixDialog.Overlay className="fixed inset-0 z-40 animate-appear bg-scrim" />
        <RadixDialog.Content
          aria-describedby={undefined}
          className="fixed inset-x-4 top-[12vh] z-50 mx-auto max-w-xl animate-appear overflow-hidden rounded-xl border border-line bg-raised shadow-raised outline-none"
        >
          <RadixDialog.Title className="sr-only">Go to</RadixDialog.Title>
          <PaletteBody onDone={() => setOpen(false)} />
        </RadixDialog.Content>
      </RadixDialog.Portal>
    </RadixDialog.Root>
  )
}

function PaletteBody({ onDone }: { onDone: () => void }) {
  const router = useRouter()
  const listId = useId()
  const [query, setQuery] = useState('')
  const [chosen, setChosen] = useState(0)
  const results = searchPalette(usePaletteEntries(), query)
  const go = (entry: PaletteEntry | undefined) => {
    if (entry === undefined) return
    onDone()
    router.push(entry.href)
  }
  const steer = (event: KeyboardEvent) => {
    const step = event.key === 'ArrowDown' ? 1 : event.key === 'ArrowUp' ? -1 : 0
    if (step !== 0) {
      event.preventDefault()
      setChosen((before) => Math.max(0, Math.min(results.length - 1, before + step)))
    } else if (event.key === 'Enter') go(results[chosen])
  }
  return (
    <>
      <input
        role="combobox"
        aria-label="Go to"
        aria-expanded
        aria-controls={listId}
        aria-activedescendant={results[chosen] === undefined ? undefined : `${listId}-${chosen}`}
        placeholder="VM or page"
        value={query}
        onChange={(event) => {
          setQuery(event.target.value)
          setChosen(0)
        }}
        onKeyDown={steer}
        className="h-12 w-full border-b border-line bg-transparent px-4 text-lg outline-none placeholder:text-ink-faint"
      />
      <div
        // oxlint-disable-next-line jsx-a11y/prefer-tag-over-role -- a combobox owns it; a <select> cannot show two columns
        role="listbox"
        id={listId}
        aria-label="Results"
        className="max-h-80 overflow-y-auto p-1.5"
      >
        {results.length === 0 ? <p className="px-3 py-6 text-center text-ink-muted">Nothing of that name.</p> : null}
        {results.map((entry, index) => (
          <button
            key={entry.href}
            type="button"
            // oxlint-disable-next-line jsx-a11y/prefer-tag-over-role -- an option of the list box above
            role="option"
            tabIndex={-1}
            id={`${listId}-${index}`}
            aria-selected={index === chosen}
            onPointerMove={() => setChosen(index)}
            onClick={() => go(entry)}
            className={classNames(
              'flex h-9 w-full items-center justify-between gap-4 rounded-md px-3 text-left',
              index === chosen && 'bg-inset',
            )}
          >
            <span className="truncate">{entry.label}</span>
            <span className="shrink-0 text-sm text-ink-muted">{entry.note}</span>
          </button>
        ))}
      </div>
    </>
  )
}

function usePaletteEntries(): PaletteEntry[] {
  const api = useTRPC()
  const { permissions } = useSession()
  const vms = useQuery(api.vm.list.queryOptions()).data ?? []
  const sites = useQuery(api.site.list.queryOptions()).data ?? []
  return [
    ...placesFor(permissions).map(({ href, label }) => ({ href, label, note: 'Page' })),
    ...vms.map((vm) => ({ href: `/vms/${vm.vmId}`, label: vm.name, note: `VM · ${vm.siteName}` })),
    ...sites.map((site) => ({ href: `/sites/${site.siteId}`, label: site.name, note: `Site · ${site.customerName}` })),
  ]
}
