import localFont from 'next/font/local'

// Geist (SIL Open Font License) as the pinned Next.js carries it: the portal loads nothing from other hosts.
export const textFont = localFont({
  src: '../../node_modules/next/dist/next-devtools/server/font/geist-latin.woff2',
  variable: '--font-text',
  weight: '100 900',
  display: 'swap',
})

export const codeFont = localFont({
  src: '../../node_modules/next/dist/next-devtools/server/font/geist-mono-latin.woff2',
  variable: '--font-code',
  weight: '100 900',
  display: 'swap',
  preload: false,
})
