'use client'

import { TriangleAlert } from 'lucide-react'
import { Button } from '../ui/button.tsx'
import { Card } from '../ui/card.tsx'
import { EmptyState } from '../ui/empty-state.tsx'

/** A page that broke while it was drawn. */
export default function PageError({ reset }: { error: Error; reset: () => void }) {
  return (
    <main className="mx-auto max-w-lg p-6">
      <Card role="alert">
        <EmptyState
          icon={TriangleAlert}
          title="This page could not be shown"
          action={<Button onClick={reset}>Try again</Button>}
        >
          Your machines and their restore points are not affected. If it comes back, tell support what you opened.
        </EmptyState>
      </Card>
    </main>
  )
}
