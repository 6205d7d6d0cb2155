import { rename } from 'node:fs/promises'
import path from 'node:path'
import { runCommand } from '@sendense/infra/processes/run-command.ts'
import { waitUntil } from '@sendense/infra/processes/wait-until.ts'
import { checkoutDir } from '@sendense/infra/stack/stack-paths.ts'
import { backupReasons } from '@sendense/shared/domain/backup-reason.ts'
import { errorCodes } from '@sendense/shared/errors/error-codes.ts'
import type { Locator } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stopMidBackup, within } from '../fault/mid-backup.ts'
import { GuestShell } from '../harness/guest-shell.ts'
import { openPortalBrowser, type PortalBrowser } from '../harness/portal-browser.ts'
import { slowDown } from '../harness/slow-process.ts'
import { openTestStack, type TestStack } from '../harness/test-stack.ts'

const JOB_TIMEOUT_MS = 120_000
const RESTORED = 'back-again'

let product: TestStack
let portal: PortalBrowser

beforeAll(async () => {
  product = await openTestStack({ name: 'portal' })
  // Enough that a backup can be watched.
  await product.guest.run('dd if=/dev/urandom of=/dev/vdb bs=1M count=200 conv=notrunc,fsync 2>/dev/null')
  portal = await openPortalBrowser(product.stack.portalUrl, { name: 'portal' })
})
afterAll(async () => {
  await portal?.[Symbol.asyncDispose]()
  await product?.[Symbol.asyncDispose]()
})

function button(name: string, inside?: Locator): Locator {
  return (inside ?? portal.page).getByRole('button', { name, exact: true })
}

function rows(table: string): Locator {
  return portal.page.getByRole('table', { name: table, exact: true }).locator('tbody').getByRole('row')
}

async function countIs(locator: Locator, wanted: number): Promise<void> {
  const limits = { ...within(JOB_TIMEOUT_MS), pauseMs: 100 }
  await waitUntil(`${wanted} of ${String(locator)}`, async () => (await locator.count()) === wanted, limits)
}

async function seen(locator: Locator, timeout = 30_000): Promise<void> {
  await locator.first().waitFor({ state: 'visible', timeout })
}

async function openVm(name: string): Promise<void> {
  await portal.page.goto('/vms')
  await portal.page.getByRole('table', { name: 'VMs' }).getByRole('link', { name, exact: true }).click()
  await seen(portal.page.getByRole('heading', { name, level: 1 }))
}

/** What the bar of the running job told, up to its end, with a picture on the way. */
async function watchProgress(): Promise<number[]> {
  const bar = portal.page.getByRole('progressbar').first()
  await seen(bar)
  const values = new Set<number>()
  let isPictured = false
  const isOver = async () => {
    const value = await bar.getAttribute('aria-valuenow', { timeout: 200 }).catch(() => null)
    if (value !== null) values.add(Number(value))
    if (values.size === 2 && !isPictured) {
      isPictured = true
      await portal.picture('full-backup-running')
    }
    return (await portal.page.getByRole('progressbar').count()) === 0
  }
  await waitUntil('the progress to end', isOver, { ...within(JOB_TIMEOUT_MS), pauseMs: 30 })
  return [...values]
}

describe('the main job, by clicking', () => {
  test('a stranger is asked to log in, a wrong password is refused with its code', async () => {
    const { page } = portal
    await page.goto('/vms')
    await page.waitForURL(/\/login/)
    await page.getByRole('textbox', { name: 'E-mail' }).fill(product.stack.ownerEmail)
    await page.getByLabel('Password').fill('not the password')
    await button('Log in').click()
    await seen(page.getByRole('alert').filter({ hasText: 'identity.credentials_invalid' }))
    await portal.picture('wrong-password')
    await page.getByLabel('Password').fill(product.stack.ownerPassword)
    await button('Log in').click()
    await seen(page.getByRole('table', { name: 'VMs' }))
    expect(new URL(page.url()).pathname).toBe('/vms')
  })

  test('site, agent and VM are there', async () => {
    const { page } = portal
    await page.goto('/sites')
    await page.getByRole('link', { name: product.vm.siteName }).first().click()
    await seen(page.getByText('Online', { exact: true }))
    await portal.picture('site')
    await page.goto('/')
    await seen(page.getByText('Agents online'))
    await expect.poll(() => page.getByLabel('Loading').count()).toBe(0)
    await portal.picture('overview-before')
    await openVm(product.vm.name)
    await seen(page.getByText('No restore points yet'))
    await portal.picture('vm-unprotected')
    expect(await button('Back up now').isEnabled()).toBe(true)
  })

  test('"Back up now" makes a full restore point, with live progress', async () => {
    using _slow = slowDown(product.agentPid())
    await button('Back up now').click()
    const values = await watchProgress()
    expect(values.some((value) => value > 0 && value < 100)).toBe(true)
    await countIs(rows('Restore points'), 1)
    const row = rows('Restore points').first()
    await seen(row.getByText('Full', { exact: true }))
    await seen(row.getByText(backupReasons.FULL_FIRST.sentence))
    await seen(rows('Jobs of this VM').first().getByText('Succeeded'))
    await portal.picture('full-backup-done')
  })

  test('after the guest wrote more, "Back up now" moves only that, and says why', async () => {
    await product.guest.run('dd if=/dev/urandom of=/dev/vdb bs=1M count=8 seek=100 conv=notrunc,fsync 2>/dev/null')
    await button('Back up now').click()
    await countIs(rows('Restore points'), 2)
    const newest = rows('Restore points').first()
    await seen(newest.getByText('Incremental', { exact: true }))
    await seen(newest.getByText(backupReasons.INCREMENTAL.sentence))
    await portal.picture('incremental-done')
    const points = await product.owner.restorePoints(product.vm.vmId)
    const readBytes = points.map((point) => point.disks.reduce((sum, disk) => sum + disk.readBytes, 0))
    expect(readBytes[0]).toBeGreaterThanOrEqual(8 * 1024 * 1024)
    expect(readBytes[0]).toBeLessThan((readBytes[1] ?? 0) / 5)
  })

  test('"Verify" proves a point', async () => {
    const newest = rows('Restore points').first()
    await button('Verify', newest).click()
    await seen(newest.getByText('Verified', { exact: true }), JOB_TIMEOUT_MS)
    await portal.picture('verified')
    const [point] = await product.owner.restorePoints(product.vm.vmId)
    expect(point?.lastVerification?.outcome).toBe('passed')
  })

  test('"Restore" makes a new VM, boots it, and shows that it came up', async () => {
    const { page } = portal
    await button('Restore', rows('Restore points').last()).click()
    const dialog = page.getByRole('dialog', { name: /^Restore / })
    const name = dialog.getByRole('textbox', { name: 'New VM name' })
    await name.fill(product.vm.name)
    await seen(dialog.getByRole('alert'))
    expect(await button('Start restore', dialog).isDisabled()).toBe(true)
    await name.fill(RESTORED)
    await portal.picture('restore-dialog')
    await button('Start restore', dialog).click()
    await page.waitForURL(/\/jobs\//)
    await seen(page.getByRole('heading', { name: /^Restore of / }))
    await portal.picture('restore-running')
    const evidence = page.getByLabel('Boot evidence')
    await seen(evidence, JOB_TIMEOUT_MS)
    expect(await evidence.textContent()).toContain('sendense-guest')
    await seen(page.getByText('Succeeded'))
    await portal.picture('restore-done')

    const restored = await product.findHostVm(RESTORED)
    expect(await new GuestShell(restored.guestAgentSocket).run('hostname')).toBe('sendense-guest')
    await page.getByRole('link', { name: `Show ${RESTORED}` }).click()
    await seen(page.getByRole('heading', { name: RESTORED, level: 1 }))
    await portal.picture('restored-vm')
  })
})

describe('what cannot be done is said, with what to do now', () => {
  test('a second backup while one runs', async () => {
    await product.guest.run('dd if=/dev/urandom of=/dev/vdb bs=1M count=64 conv=notrunc,fsync 2>/dev/null')
    await openVm(product.vm.name)
    const agent = await stopMidBackup(product, 'auto')
    await button('Back up now').click()
    const message = portal.page.getByText(/job\.already_running/)
    await seen(message)
    await portal.picture('second-backup-refused')
    agent.resume()
    expect((await product.owner.waitForEnd(agent.jobId)).state).toBe('succeeded')
  })

  test('a job that fails, on its own page', async () => {
    const { page } = portal
    const { kvmRoot, kvmRuntimeDir } = product.stack.paths
    const cli = path.join(checkoutDir, 'edge-agent/cli/main.ts')
    const place = ['--root', kvmRoot, '--runtime-dir', kvmRuntimeDir]
    await runCommand(process.execPath, [cli, 'kvm', 'stop', ...place, RESTORED], within(60_000))
    await openVm(RESTORED)
    await button('Back up now').click()
    const job = rows('Jobs of this VM').filter({ hasText: 'Failed' }).first()
    await seen(job, JOB_TIMEOUT_MS)
    await job.getByRole('link', { name: 'Backup' }).click()
    const alert = page.getByRole('alert').filter({ hasText: 'source.vm_not_running' })
    await seen(alert)
    expect(await alert.textContent()).toContain(errorCodes['source.vm_not_running'].advice)
    await portal.picture('failed-job')
  })

  test('a repository that is missing', async () => {
    const { page } = portal
    const { repositoryDir } = product.stack.paths
    await rename(repositoryDir, `${repositoryDir}.away`)
    await product.owner.api.agent.refreshInventory.mutate({ agentId: product.vm.agentId })
    await page.goto('/repositories')
    await seen(page.getByText('Missing', { exact: true }), JOB_TIMEOUT_MS)
    await portal.picture('repository-missing')
    await openVm(product.vm.name)
    await button('Back up now').click()
    const message = page.getByText(/repository\.missing/)
    await seen(message)
    expect(await message.first().textContent()).toContain(errorCodes['repository.missing'].advice)
    await portal.picture('backup-refused-repository-missing')
    await rename(`${repositoryDir}.away`, repositoryDir)
    await product.owner.api.agent.refreshInventory.mutate({ agentId: product.vm.agentId })
    await page.goto('/repositories')
    await seen(page.getByText('Ready', { exact: true }), JOB_TIMEOUT_MS)
  })

  test('in all of this no page broke, and none asked another host for anything', async () => {
    await portal.page.goto('/')
    await seen(portal.page.getByRole('table', { name: 'Latest restore points' }))
    await expect.poll(() => portal.page.getByLabel('Loading').count()).toBe(0)
    await portal.picture('overview-after')
    expect(portal.problems).toEqual([])
  })
})
