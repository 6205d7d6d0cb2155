'use client'

import { ToggleGroup } from 'radix-ui'

export interface FilterTabsProps<V extends string> {
  label: string
  tabs: readonly { readonly value: V; readonly label: string; readonly count?: number }[]
  value: V
  onValueChange: (value: V) => void
}

/** One of a few filters for the list below. */
export function FilterTabs<V extends string>({ label, tabs, value, onValueChange }: FilterTabsProps<V>) {
  const choose = (text: string) => {
    const tab = tabs.find((candidate) => candidate.value === text)
    if (tab !== undefined) onValueChange(tab.value)
  }
  return (
    <ToggleGroup.Root
      type="single"
      value={value}
      onValueChange={choose}
      aria-label={label}
      className="flex max-w-full gap-0.5 overflow-x-auto"
    >
      {tabs.map((tab) => (
        <ToggleGroup.Item
          key={tab.value}
          value={tab.value}
          className="h-7 rounded-md px-2.5 text-sm whitespace-nowrap text-ink-muted transition-colors hover:text-ink data-[state=on]:bg-inset data-[state=on]:font-medium data-[state=on]:text-ink"
        >
          {tab.label}
          {tab.count === undefined ? null : <span className="ml-1.5 text-xs text-ink-muted">{tab.count}</span>}
        </ToggleGroup.Item>
      ))}
    </ToggleGroup.Root>
  )
}
