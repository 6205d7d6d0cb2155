import type { Metadata } from 'next'
import { RepositoryList } from '../../../features/repository/repository-list.tsx'

export const metadata: Metadata = { title: 'Repositories' }

export default function RepositoryListPage() {
  return <RepositoryList />
}
