import type { Metadata } from 'next'
import { VmDetail } from '../../../../features/vm/vm-detail.tsx'

export const metadata: Metadata = { title: 'VM' }

export default async function VmDetailPage({ params }: { params: Promise<{ vmId: string }> }) {
  const { vmId } = await params
  return <VmDetail vmId={vmId} />
}
