import type { ReactNode } from 'react'

export interface Fact {
  readonly label: string
  readonly value: ReactNode
}

/** Names and values of one thing, in columns as wide as there is room. */
export function FactList({ facts }: { facts: readonly Fact[] }) {
  return (
    <dl className="grid grid-cols-2 gap-x-6 gap-y-3.5 p-4 sm:grid-cols-3 lg:grid-cols-4 xl:grid-cols-6">
      {facts.map((fact) => (
        <div key={fact.label} className="min-w-0">
          <dt className="text-xs text-ink-muted">{fact.label}</dt>
          <dd className="mt-0.5 wrap-anywhere">{fact.value}</dd>
        </div>
      ))}
    </dl>
  )
}
