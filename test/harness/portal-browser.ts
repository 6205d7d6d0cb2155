import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { type BrowserContext, chromium, type Page } from 'playwright-core'
import { resultsDir } from './test-stack.ts'

const CHROMIUM = '/usr/bin/chromium'
/** Root has no sandbox, and nothing may be fetched but the portal. */
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]
const ACTION_TIMEOUT_MS = 30_000

/** A browser with one page of the portal. */
export interface PortalBrowser extends AsyncDisposable {
  readonly page: Page
  /** What went wrong in the page itself: uncaught errors, and requests to other hosts. */
  readonly problems: string[]
  /** Keeps a picture of the page in test-results/, in a folder of the browser's name, numbered in order. */
  picture(name: string): Promise<void>
}

export interface PortalBrowserOptions {
  /** Names the folder of pictures. */
  readonly name: string
  /** IANA name of where its user is; absent: where the machine is. */
  readonly timeZone?: string
}

export async function openPortalBrowser(portalUrl: string, options: PortalBrowserOptions): Promise<PortalBrowser> {
  const picturesDir = path.join(resultsDir, options.name)
  await rm(picturesDir, { recursive: true, force: true })
  await mkdir(picturesDir, { recursive: true })
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS })
  const context = await browser.newContext({
    baseURL: portalUrl,
    viewport: { width: 1440, height: 900 },
    ...(options.timeZone === undefined ? {} : { timezoneId: options.timeZone }),
  })
  context.setDefaultTimeout(ACTION_TIMEOUT_MS)
  const problems: string[] = []
  watchForProblems(context, new URL(portalUrl).origin, problems)
  const page = await context.newPage()
  let pictures = 0
  return {
    page,
    problems,
    picture: async (name) => {
      pictures += 1
      await page.screenshot({
        path: path.join(picturesDir, `${String(pictures).padStart(2, '0')}-${name}.png`),
        fullPage: true,
        animations: 'disabled',
      })
    },
    [Symbol.asyncDispose]: async () => await browser.close(),
  }
}

function watchForProblems(context: BrowserContext, origin: string, problems: string[]): void {
  context.on('weberror', (event) => problems.push(`uncaught in the page: ${event.error().message}`))
  context.on('request', (request) => {
    const url = new URL(request.url())
    const isOwn = url.origin === origin || ['data:', 'blob:'].includes(url.protocol)
    if (!isOwn) problems.push(`request to another host: ${url.origin}`)
  })
}
