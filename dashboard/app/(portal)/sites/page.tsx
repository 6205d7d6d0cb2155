import type { Metadata } from 'next'
import { SiteList } from '../../../features/site/site-list.tsx'

export const metadata: Metadata = { title: 'Sites' }

export default function SiteListPage() {
  return <SiteList />
}
