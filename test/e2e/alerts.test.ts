import { randomUUID } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { waitUntil } from '@sendense/infra/processes/wait-until.ts'
import { AlertView } from '@sendense/shared/contracts/api/alert-api.ts'
import { alertHeadline } from '@sendense/shared/errors/alert-words.ts'
import { errorCodes, type ErrorCode } from '@sendense/shared/errors/error-codes.ts'
import type { Locator } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { backupOrder, type BrokerPeer, connectBrokerPeer, tampered } from '../fault/broker-peer.ts'
import { CloudDatabase } from '../fault/cloud-database.ts'
import { within } from '../fault/mid-backup.ts'
import { openPortalBrowser, type PortalBrowser } from '../harness/portal-browser.ts'
import { SendenseCommand } from '../harness/sendense-command.ts'
import { openTestStack, type TestStack } from '../harness/test-stack.ts'

/** Half an hour beside every whole zone: no other time of day is taken for it. */
const TIME_ZONE = 'Asia/Kolkata'

let product: TestStack
let portal: PortalBrowser
let sendense: SendenseCommand
let peer: BrokerPeer
/** Number of the next command the cloud would give. */
let next: number

beforeAll(async () => {
  product = await openTestStack({ name: 'alerts' })
  const { stack, owner, vm, scratchDir } = product
  await owner.backUp(vm.vmId, { quiesce: false })
  portal = await openPortalBrowser(stack.portalUrl, { name: 'alerts', timeZone: TIME_ZONE })
  const homeDir = path.join(scratchDir, 'home')
  await mkdir(homeDir)
  sendense = new SendenseCommand({ homeDir, url: stack.portalUrl })
  const login = ['login', '--email', stack.ownerEmail, '--password-stdin']
  const end = await sendense.run(login, { input: stack.ownerPassword })
  if (end.exitCode !== 0) throw new Error(end.stderr)
  peer = await connectBrokerPeer(product)
  await using database = new CloudDatabase(product)
  next = (await database.commandSequence(vm.agentId)) + 1
})
afterAll(async () => {
  await peer?.[Symbol.asyncDispose]()
  await portal?.[Symbol.asyncDispose]()
  await product?.[Symbol.asyncDispose]()
})

const headlineOf = (code: ErrorCode) => alertHeadline({ code, message: '', advice: '' })
const adviceOf = (code: ErrorCode) => errorCodes[code].advice

async function seen(locator: Locator, timeout = 30_000): Promise<void> {
  await locator.first().waitFor({ state: 'visible', timeout })
}

async function gone(locator: Locator): Promise<void> {
  await locator.first().waitFor({ state: 'detached', timeout: 30_000 })
}

/** The alert of that code on the page of alerts. */
function article(code: ErrorCode): Locator {
  const list = portal.page.getByRole('list', { name: 'Alerts', exact: true })
  return list.getByRole('listitem').filter({ has: portal.page.getByRole('heading', { name: headlineOf(code) }) })
}

const navigation = (name: string) => portal.page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name })
const acknowledgeButton = (code: ErrorCode) =>
  portal.page.getByRole('button', { name: `Acknowledge ${headlineOf(code)}`, exact: true })

async function listed(...args: string[]): Promise<AlertView[]> {
  const end = await sendense.run(['alerts', ...args, '--json'])
  expect(end.exitCode).toBe(0)
  return z.array(AlertView).parse(JSON.parse(end.stdout))
}

async function alertOf(code: ErrorCode): Promise<AlertView> {
  const found = (await listed('--all')).find((alert) => alert.error.code === code)
  if (found === undefined) throw new Error(`there is no alert ${code}`)
  return found
}

/** Set once, before anything happens: a page that was loaded again has it no more. */
const isSamePage = () => portal.page.evaluate(() => Reflect.has(globalThis, 'sendenseTestMark'))

test('with nothing to look at the portal says so', async () => {
  const { page } = portal
  const { stack } = product
  await page.goto('/login?next=/alerts')
  await page.getByRole('textbox', { name: 'E-mail' }).fill(stack.ownerEmail)
  await page.getByLabel('Password').fill(stack.ownerPassword)
  await page.getByRole('button', { name: 'Log in', exact: true }).click()
  await seen(page.getByText('No open alerts'))
  await portal.picture('none')
  await navigation('Overview').click()
  await seen(page.getByText('No alert is open'))
  await seen(page.getByLabel('Live connection: Live'))
  await page.evaluate(() => Reflect.set(globalThis, 'sendenseTestMark', true))
  expect(await navigation('Alerts').textContent()).toBe('Alerts')
  expect(await listed('--all')).toEqual([])
})

test('a tampered command is refused and appears on the overview without a reload, with what to do', async () => {
  const { page } = portal
  const { vm, owner } = product
  const jobsBefore = await owner.api.job.list.query({})
  await peer.publish(vm.agentId, tampered(await peer.sign(await backupOrder(product, next))))
  const code = 'command.signature_invalid'
  const item = page.getByRole('listitem').filter({ hasText: headlineOf(code) })
  await seen(item)
  const { hostname } = await alertOf(code)
  const text = (await item.textContent()) ?? ''
  for (const part of ['Critical', `Agent ${hostname} · ${vm.siteName}`, `What to do: ${adviceOf(code)}`]) {
    expect(text).toContain(part)
  }
  await seen(navigation('Alerts 1 open'))
  await seen(page.getByText('A critical alert was raised'))
  await portal.picture('overview')
  expect(await isSamePage()).toBe(true)
  expect(await owner.api.job.list.query({})).toEqual(jobsBefore)
})

test('one that is repeated and one for another tenant appear on the page of alerts, each with its place and time', async () => {
  const { page } = portal
  const { vm } = product
  await page.getByRole('link', { name: headlineOf('command.signature_invalid') }).click()
  await page.waitForURL(/\/alerts\?severity=critical&place=agent/)
  await seen(article('command.signature_invalid'))
  await peer.publish(vm.agentId, await peer.sign(await backupOrder(product, 1)))
  await peer.publish(vm.agentId, await peer.sign(await backupOrder(product, next, { tenantId: randomUUID() })))
  await seen(article('command.replayed'))
  await seen(article('command.wrong_audience'))
  expect(await isSamePage()).toBe(true)

  const replayed = article('command.replayed')
  const { hostname, raisedAt, alertId } = await alertOf('command.replayed')
  const text = (await replayed.textContent()) ?? ''
  for (const part of ['Critical', `Agent ${hostname}`, vm.siteName, vm.customerName, adviceOf('command.replayed')]) {
    expect(text).toContain(part)
  }
  const style = { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit' } as const
  expect(text).toContain(new Date(raisedAt).toLocaleString('en-US', { ...style, timeZone: TIME_ZONE }))
  expect(await replayed.getByRole('time').getAttribute('datetime')).toBe(raisedAt)
  expect(await replayed.getByRole('link', { name: vm.name, exact: true }).getAttribute('href')).toBe(`/vms/${vm.vmId}`)
  expect(await article('command.wrong_audience').getByRole('link', { name: vm.name, exact: true }).count()).toBe(0)
  await replayed.getByText('Details', { exact: true }).click()
  await seen(replayed.getByText(alertId))
  await seen(replayed.getByText('command.replayed'))
  await portal.picture('alerts')
})

test('the command line lists the same, with what to do', async () => {
  const { vm } = product
  const open = await listed('--severity', 'critical')
  expect(open.map((alert) => alert.error.code).toSorted()).toEqual([
    'command.replayed',
    'command.signature_invalid',
    'command.wrong_audience',
  ])
  expect(open.find((alert) => alert.error.code === 'command.replayed')).toMatchObject({
    agentId: vm.agentId,
    siteId: vm.siteId,
    vm: { vmId: vm.vmId, name: vm.name },
    error: { details: { type: 'backup-vm', sequence: 1 } },
    acknowledged: null,
  })
  const { stdout, exitCode } = await sendense.run(['alerts'])
  expect(exitCode).toBe(0)
  for (const { alertId, hostname, siteName, raisedAt, error } of open) {
    const row = stdout.split('\n').find((line) => line.startsWith(alertId))
    const headline = headlineOf(error.code as ErrorCode)
    const raised = raisedAt.slice(0, 19).replace('T', ' ')
    expect(row).toMatch(new RegExp(`critical +${raised} +${hostname} +${siteName} .*${headline}$`))
    expect(stdout).toContain(`  ${headline}: ${adviceOf(error.code as ErrorCode)}`)
  }
})

test('by keyboard one is acknowledged in the portal: it is gone there and here, and the keyboard stays in the list', async () => {
  const { page } = portal
  const { stack } = product
  const before = await listed()
  await acknowledgeButton('command.replayed').focus()
  await page.keyboard.press('Enter')
  await gone(article('command.replayed'))
  await seen(navigation(`Alerts ${before.length - 1} open`))
  const focused = () =>
    page
      .locator(':focus')
      .textContent({ timeout: 500 })
      .catch(() => null)
  await waitUntil('the focus', async () => (await focused()) === 'Acknowledge', within(10_000))
  expect((await listed()).map((alert) => alert.error.code)).not.toContain('command.replayed')
  expect((await alertOf('command.replayed')).acknowledged?.by).toBe(stack.ownerEmail)

  await page.getByRole('radio', { name: 'Acknowledged', exact: true }).click()
  const text = (await article('command.replayed').textContent()) ?? ''
  expect(text).toContain(`by ${stack.ownerEmail}`)
  await portal.picture('acknowledged')
  await page.reload()
  await seen(article('command.replayed'))
  expect(await acknowledgeButton('command.replayed').count()).toBe(0)
})

test('what the command line acknowledges goes from the open page by itself', async () => {
  const { page } = portal
  await page.goto('/alerts?severity=critical')
  await seen(article('command.wrong_audience'))
  await page.evaluate(() => Reflect.set(globalThis, 'sendenseTestMark', true))
  const { alertId } = await alertOf('command.wrong_audience')
  const end = await sendense.run(['alerts', 'acknowledge', alertId])
  expect(end).toMatchObject({
    exitCode: 0,
    stdout: expect.stringContaining(headlineOf('command.wrong_audience')) as string,
  })
  await gone(article('command.wrong_audience'))
  await seen(article('command.signature_invalid'))
  expect(await isSamePage()).toBe(true)
})

test('all that are shown are acknowledged at once, after asking; then none is open', async () => {
  const { page } = portal
  const { vm } = product
  // A stranger who signs as the cloud does: the refusal of an order the cloud never gave is another alert.
  const expiresAt = new Date(Date.now() - 1000).toISOString()
  await peer.publish(vm.agentId, await peer.sign(await backupOrder(product, next, { expiresAt })))
  await page.goto('/alerts')
  await seen(article('command.expired'))
  await seen(article('agent.event_refused'))
  await page.getByRole('button', { name: 'Acknowledge all shown' }).click()
  const dialog = page.getByRole('dialog', { name: /^Acknowledge \d alerts\?$/ })
  await seen(dialog)
  await portal.picture('acknowledge-all')
  await dialog.getByRole('button', { name: /^Acknowledge \d alerts$/ }).click()
  await seen(page.getByText('No open alerts'))
  expect(await listed()).toEqual([])
  await seen(navigation('Alerts').filter({ hasNotText: 'open' }))
})

test('a list that cannot be read says so and is read again on demand', async () => {
  const { page } = portal
  await page.route(/\/trpc\/[^?]*alert\.list/, (route) => route.abort())
  await page.goto('/alerts?state=all')
  await seen(page.getByLabel('Loading'))
  const notice = page.getByRole('alert').filter({ hasText: 'network.unreachable' })
  await seen(notice)
  await portal.picture('failed')
  await page.unroute(/\/trpc\/[^?]*alert\.list/)
  await notice.getByRole('button', { name: 'Retry' }).click()
  await seen(article('command.signature_invalid'))
  expect(await notice.count()).toBe(0)
})

test('on a phone and in the dark all of it is there; no page broke or asked another host', async () => {
  const { page, problems } = portal
  await page.emulateMedia({ colorScheme: 'dark' })
  await portal.picture('alerts-dark')
  await page.setViewportSize({ width: 390, height: 844 })
  await seen(article('command.replayed').getByText(`What to do: ${adviceOf('command.replayed')}`))
  const widths = await page.evaluate('[document.documentElement.scrollWidth, document.documentElement.clientWidth]')
  expect(widths).toEqual([390, 390])
  await portal.picture('alerts-phone')
  expect(problems).toEqual([])
})
