import type { Metadata } from 'next'
import { LogInForm } from '../../features/session/log-in-form.tsx'
import { BrandMark } from '../../ui/brand-mark.tsx'

export const metadata: Metadata = { title: 'Log in' }

export default async function LogInPage({ searchParams }: { searchParams: Promise<{ next?: string | string[] }> }) {
  const { next } = await searchParams
  return (
    <main className="grid min-h-dvh place-items-center p-5">
      <div className="w-full max-w-sm">
        <BrandMark className="mb-7" />
        <h1 className="text-xl font-semibold tracking-[-0.015em]">Log in</h1>
        <p className="mt-1 mb-6 text-ink-muted">Backup and restore of your customers’ machines.</p>
        <LogInForm next={typeof next === 'string' ? next : undefined} />
      </div>
    </main>
  )
}
