import { Compass } from 'lucide-react'
import Link from 'next/link'
import { Button } from '../ui/button.tsx'
import { Card } from '../ui/card.tsx'
import { EmptyState } from '../ui/empty-state.tsx'

export default function NotFound() {
  return (
    <main className="mx-auto max-w-lg p-6">
      <Card>
        <EmptyState
          icon={Compass}
          title="There is no such page"
          action={
            <Button asChild>
              <Link href="/">Go to the overview</Link>
            </Button>
          }
        >
          The address may be old or mistyped.
        </EmptyState>
      </Card>
    </main>
  )
}
