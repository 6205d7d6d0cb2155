import type { Metadata } from 'next'
import { JobDetail } from '../../../../features/job/job-detail.tsx'

export const metadata: Metadata = { title: 'Job' }

export default async function JobDetailPage({ params }: { params: Promise<{ jobId: string }> }) {
  const { jobId } = await params
  return <JobDetail jobId={jobId} />
}
