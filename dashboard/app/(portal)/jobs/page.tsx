import type { Metadata } from 'next'
import { JobList } from '../../../features/job/job-list.tsx'

export const metadata: Metadata = { title: 'Jobs' }

export default function JobListPage() {
  return <JobList />
}
