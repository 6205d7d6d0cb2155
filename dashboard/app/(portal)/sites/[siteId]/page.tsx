import type { Metadata } from 'next'
import { SiteDetail } from '../../../../features/site/site-detail.tsx'

export const metadata: Metadata = { title: 'Site' }

export default async function SiteDetailPage({ params }: { params: Promise<{ siteId: string }> }) {
  const { siteId } = await params
  return <SiteDetail siteId={siteId} />
}
