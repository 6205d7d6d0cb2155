import { randomUUID } from 'node:crypto'
import { waitUntil } from '@sendense/infra/processes/wait-until.ts'
import { AlertView } from '@sendense/shared/contracts/api/alert-api.ts'
import type { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { type CommandCloud, openCommandCloud, type RaisedEvent } from '../harness/command-cloud.ts'

let product: CommandCloud
let owner: string

beforeAll(async () => {
  product = await openCommandCloud()
  owner = product.cloud.demo.ownerEmail
})
afterAll(async () => await product?.[Symbol.asyncDispose]())

interface NewAlert extends RaisedEvent {
  readonly alertId: string
}

function newAlert(minutesAgo: number, severity: AlertView['severity'], details: ErrorReport['details'] = {}): NewAlert {
  const alertId = randomUUID()
  const error = { code: 'command.replayed', message: 'm', advice: 'call me', details }
  const at = new Date(Date.now() - minutesAgo * 60_000).toISOString()
  return { alertId, at, event: { type: 'alert-raised', alertId, severity, error } }
}

async function listed(...args: string[]): Promise<string[]> {
  return (await product.json(z.array(AlertView), 'alerts', ...args)).map((alert) => alert.alertId)
}

const within = () => ({ signal: AbortSignal.timeout(20_000), timeoutMs: 20_000 })

test('none are told so', async () => {
  expect(await product.run(['alerts'])).toMatchObject({ exitCode: 0, stdout: 'No open alerts.\n', stderr: '' })
  expect(await listed()).toEqual([])
})

test('are listed newest first with what to do, filtered, and gone from the open ones once acknowledged', async () => {
  const critical = newAlert(1, 'critical', { vmId: product.vm.vmId, withheldBefore: 4 })
  const warning = newAlert(2, 'warning')
  const info = newAlert(3, 'info')
  await product.report([info, critical, warning])
  await waitUntil('the alerts', async () => (await listed()).length === 3, within())
  expect(await listed()).toEqual([critical.alertId, warning.alertId, info.alertId])
  expect(await listed('--severity', 'info,warning', '--agent', 'host-1')).toEqual([warning.alertId, info.alertId])
  expect(await listed('--site', 'Head office', '--severity', 'critical')).toEqual([critical.alertId])

  const shown = await product.run(['alerts'])
  const raised = critical.at.slice(0, 19).replace('T', ' ')
  const headline = 'An old command that was sent again was refused'
  expect(shown.stdout.split('\n')[1]).toBe(
    `${critical.alertId}  critical  ${raised}  host-1  Head office  web-1  ${headline}, and 4 more before it`,
  )
  expect(shown.stdout).toContain(`What to do:\n  ${headline}: Nothing was done.`)
  expect(shown.stdout).not.toContain('call me')

  const cut = await product.run(['alerts', '--limit', '2'])
  expect(cut).toMatchObject({ exitCode: 0, stderr: expect.stringContaining('a higher --limit') as string })
  expect(cut.stdout).not.toContain(info.alertId)

  const done = await product.run(['alerts', 'acknowledge', critical.alertId, info.alertId])
  expect(done.exitCode).toBe(0)
  expect(done.stdout.match(new RegExp(`^acknowledged by ${owner}, .*host-1 at Head office`, 'gm'))).toHaveLength(2)
  expect(await listed()).toEqual([warning.alertId])
  expect(await listed('--all')).toEqual([critical.alertId, warning.alertId, info.alertId])
  const [first] = await product.json(z.array(AlertView), 'alerts', 'acknowledge', critical.alertId)
  expect(first).toMatchObject({ alertId: critical.alertId, acknowledged: { by: owner } })
  expect((await product.run(['alerts', '--all'])).stdout).toMatch(new RegExp(`by ${owner} .*An old command`))
})

test('one that is not there acknowledges none of the others and ends with 4; wrong use with 2', async () => {
  const [open = ''] = await listed()
  expect((await product.run(['alerts', 'acknowledge', open, randomUUID()])).exitCode).toBe(4)
  expect(await listed()).toEqual([open])
  const exitCode = async (...args: string[]) => (await product.run(['alerts', ...args])).exitCode
  expect(await exitCode('acknowledge', 'first')).toBe(2)
  expect(await exitCode('acknowledge')).toBe(2)
  expect(await exitCode('acknowledge', ...Array.from({ length: 101 }, () => randomUUID()))).toBe(2)
  expect(await exitCode('first')).toBe(2)
  expect(await exitCode('--severity', 'loud')).toBe(2)
  expect(await exitCode('--limit', '0')).toBe(2)
  expect(await exitCode('--agent', 'nobody')).toBe(4)
  expect(await exitCode('--site', 'nowhere')).toBe(4)
})

test('more than a page of them are all listed, each once, up to the limit', async () => {
  const before = await listed('--all')
  const many = Array.from({ length: 420 }, (_, index) => newAlert(10 + Math.floor(index / 50), 'info'))
  for (let first = 0; first < many.length; first += 140) await product.report(many.slice(first, first + 140))
  const total = before.length + many.length
  await waitUntil('them', async () => (await listed('--all', '--limit', '1000')).length === total, within())
  const all = await listed('--all', '--limit', '1000')
  expect(new Set(all).size).toBe(total)
  expect(await listed('--all', '--limit', '201')).toEqual(all.slice(0, 201))
})

test('are told as they are raised and acknowledged to those who watch', async () => {
  const stop = new AbortController()
  let told = ''
  const watching = product.run(['watch'], { interrupt: stop.signal, onOutput: (piece) => (told += piece) })
  const raised: string[] = []
  const isTold = async () => {
    // It subscribes at some time of its own: alerts go on coming until then.
    const alert = newAlert(0, 'critical')
    raised.push(alert.alertId)
    await product.report([alert])
    return raised.some((alertId) => told.includes(`alert ${alertId} raised, critical`))
  }
  await waitUntil('an alert to be told', isTold, { ...within(), pauseMs: 300 })
  const [first = ''] = await listed('--severity', 'critical')
  await product.run(['alerts', 'acknowledge', first])
  await waitUntil('it to be told', async () => told.includes(`alert ${first} acknowledged`), within())
  stop.abort()
  expect((await watching).exitCode).toBe(130)
})
