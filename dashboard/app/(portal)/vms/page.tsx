import type { Metadata } from 'next'
import { VmList } from '../../../features/vm/vm-list.tsx'

export const metadata: Metadata = { title: 'VMs' }

export default function VmListPage() {
  return <VmList />
}
