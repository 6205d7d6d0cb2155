import './globals.css'
import type { Metadata, Viewport } from 'next'
import { cookies } from 'next/headers'
import type { ReactNode } from 'react'
import { ApiProvider } from '../lib/api-provider.tsx'
import { codeFont, textFont } from '../lib/fonts.ts'
import { parseTheme, THEME_COOKIE } from '../lib/theme.ts'
import { Toaster } from '../ui/toaster.tsx'

export const metadata: Metadata = {
  title: { default: 'Sendense', template: '%s · Sendense' },
  description: 'Backup, restore and replication of virtual machines',
}

export const viewport: Viewport = { width: 'device-width', initialScale: 1 }

/** Reads the cookie, so every page is rendered per request: its scripts carry the nonce of that request. */
export default async function RootLayout({ children }: { children: ReactNode }) {
  const theme = parseTheme((await cookies()).get(THEME_COOKIE)?.value)
  return (
    <html
      lang="en"
      className={`${textFont.variable} ${codeFont.variable}`}
      {...(theme === 'system' ? {} : { 'data-theme': theme })}
      suppressHydrationWarning
    >
      <body>
        <ApiProvider>{children}</ApiProvider>
        <Toaster />
      </body>
    </html>
  )
}
