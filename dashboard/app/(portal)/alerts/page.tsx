import type { Metadata } from 'next'
import { AlertListPage } from '../../../features/alert/alert-list.tsx'

export const metadata: Metadata = { title: 'Alerts' }

export default function AlertsPage() {
  return <AlertListPage />
}
