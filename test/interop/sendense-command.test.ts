import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { waitUntil } from '@sendense/infra/processes/wait-until.ts'
import type { CommandPayload } from '@sendense/shared/contracts/agent-command.ts'
import type { AgentEvent } from '@sendense/shared/contracts/agent-message.ts'
import { JobDetailView, JobView, LiveEvent, VmView } from '@sendense/shared/contracts/api/protection-api.ts'
import { SessionView } from '@sendense/shared/contracts/api/session-api.ts'
import type { CloudMessage } from '@sendense/shared/contracts/cloud-message.ts'
import type { JobReport } from '@sendense/shared/contracts/job.ts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { type CommandCloud, openCommandCloud } from '../harness/command-cloud.ts'
import { type CommandOptions, SendenseCommand } from '../harness/sendense-command.ts'

let product: CommandCloud

const now = () => new Date().toISOString()

beforeAll(async () => {
  product = await openCommandCloud()
})
afterAll(async () => await product?.[Symbol.asyncDispose]())

const run = (args: readonly string[], options?: CommandOptions) => product.run(args, options)
const json = <T>(schema: z.ZodType<T>, ...args: string[]) => product.json(schema, ...args)
const report = (event: AgentEvent) => product.report([{ at: now(), event }])

async function reportJob(jobId: string, revision: number, changes: Partial<JobReport>): Promise<void> {
  const facts = { kind: 'backup' as const, vmId: product.vm.vmId, queuedAt: now(), attempt: 1, log: [] }
  await report({ type: 'job-reported', job: { jobId, state: 'running', revision, ...facts, ...changes } })
}

/** What the agent was told to do in a job. */
async function orderOf(jobId: string): Promise<CommandPayload> {
  const isOrder = (message: CloudMessage): message is CommandPayload =>
    message.kind === 'command' && message.command.type === 'backup-vm' && message.command.jobId === jobId
  return await product.agent.waitFor(isOrder)
}

async function runningBackup(): Promise<JobView> {
  const job = await json(JobView, 'backup', 'web-1')
  await orderOf(job.jobId)
  await reportJob(job.jobId, 1, { state: 'running', startedAt: now() })
  return job
}

describe('session', () => {
  test('says who is logged in', async () => {
    const session = await json(SessionView, 'whoami')
    expect(session).toMatchObject({ email: product.cloud.demo.ownerEmail, role: 'owner' })
  })

  test('a wrong password ends with 3 and leaves the session as it was', async () => {
    const args = ['login', '--email', product.cloud.demo.ownerEmail, '--password-stdin']
    expect(await run(args, { input: 'wrong' })).toMatchObject({
      exitCode: 3,
      stdout: '',
      stderr: expect.stringContaining('code: identity.credentials_invalid') as string,
    })
    expect((await run(['whoami'])).exitCode).toBe(0)
  })

  test('the token goes to no other origin', async () => {
    const seen: (string | undefined)[] = []
    const stranger = createServer((request, response) => {
      seen.push(request.headers.authorization)
      response.writeHead(401).end()
    })
    const { promise, resolve } = Promise.withResolvers<void>()
    stranger.listen(0, '127.0.0.1', resolve)
    await promise
    const url = `http://127.0.0.1:${(stranger.address() as AddressInfo).port}`
    const end = await run(['vms', '--url', url])
    stranger.close()
    expect(end).toMatchObject({ exitCode: 3, stderr: expect.stringContaining('not logged in at') as string })
    expect(seen).toEqual([])
  })

  test('nobody there ends with 5', async () => {
    const end = await run(['vms'], { environment: { SENDENSE_URL: 'http://127.0.0.1:9', SENDENSE_TOKEN: 'any' } })
    expect(end).toMatchObject({ exitCode: 5, stderr: expect.stringContaining('code: cloud.unreachable') as string })
  })

  test('after log-out nothing works any more, with 3', async () => {
    const other = new SendenseCommand({ homeDir: path.join(product.homeDir, 'other'), url: product.cloud.origin })
    const args = ['login', '--email', product.cloud.demo.ownerEmail, '--password-stdin', '--json']
    expect((await other.run(args, { input: product.cloud.password })).exitCode).toBe(0)
    expect((await other.run(['logout'])).exitCode).toBe(0)
    expect((await other.run(['whoami'])).exitCode).toBe(3)
  })
})

describe('what is there', () => {
  test.each(['sites', 'agents', 'vms', 'repositories', 'restore-points', 'jobs'])(
    '%s lists, for people and programs',
    async (name) => {
      expect(await run([name])).toMatchObject({
        exitCode: 0,
        stderr: '',
        stdout: expect.stringMatching(/\S\n$/) as string,
      })
      expect(await json(z.array(z.unknown()), name)).toBeInstanceOf(Array)
    },
  )

  test('a VM is shown by its name and by its id', async () => {
    const shown = await json(VmView, 'vm', 'web-1')
    expect(shown.vmId).toBe(product.vm.vmId)
    expect(await json(VmView, 'vm', product.vm.vmId)).toEqual(shown)
  })

  test('an unknown name ends with 4, an ambiguous one with 2 and the choice', async () => {
    expect((await run(['backup', 'nobody'])).exitCode).toBe(4)
    const twins = await run(['backup', 'twin'])
    expect(twins.exitCode).toBe(2)
    expect(twins.stderr.match(/[0-9a-f-]{36} {2}twin at /g)).toHaveLength(2)
  })

  test('jobs that are not there, ids that are none, states and options nobody knows', async () => {
    expect((await run(['job', randomUUID()])).exitCode).toBe(4)
    expect((await run(['job', 'first'])).exitCode).toBe(2)
    expect((await run(['jobs', '--state', 'sleeping'])).exitCode).toBe(2)
    expect((await run(['jobs', '--limit', '0'])).exitCode).toBe(2)
    expect((await run(['jobs', '--nonsense'])).exitCode).toBe(2)
    expect((await run(['restore', 'latest', '--name', 'copy'])).exitCode).toBe(2)
    expect((await run(['restore', 'latest', '--vm', 'web-1', '--name', 'copy'])).exitCode).toBe(4)
    expect((await run(['restore', randomUUID(), '--name', '../copy'])).exitCode).toBe(2)
    expect((await run(['verify', randomUUID()])).exitCode).toBe(4)
    expect((await run(['verify', 'latest'])).exitCode).toBe(2)
    expect((await run(['verify', 'latest', '--vm', 'web-1'])).exitCode).toBe(4)
  })
})

describe('a job', () => {
  test('that succeeds is waited for, with progress on stderr and its end on stdout', async () => {
    const waiting = run(['backup', 'web-1', '--wait', '--full', '--no-quiesce'])
    const findJob = async () => (await json(z.array(JobView), 'jobs', '--state', 'queued'))[0]
    const limits = { signal: AbortSignal.timeout(20_000), timeoutMs: 20_000 }
    const { jobId } = await waitUntil('the job', findJob, limits)
    const { command } = await orderOf(jobId)
    expect(command).toMatchObject({
      type: 'backup-vm',
      mode: 'full',
      quiesce: false,
      vmId: product.vm.vmId,
      repositoryId: product.repositoryId,
    })
    await reportJob(jobId, 1, { state: 'running', startedAt: now() })
    const facts = {
      sizeBytes: 10,
      mode: 'full',
      reason: 'FULL_FIRST',
      readBytes: 3 * 1024 ** 2,
      writtenBytes: 5,
    } as const
    const disk = { diskId: 'disk0', zeroedBytes: 0, storedBytes: 5, ...facts }
    const restorePointId = randomUUID()
    const point = {
      restorePointId,
      vmId: product.vm.vmId,
      vmName: product.vm.name,
      repositoryId: product.repositoryId,
      jobId,
      takenAt: now(),
      sealedAt: now(),
    }
    const sealed = { ...point, consistency: 'crash' as const, manifestHash: '0'.repeat(64), disks: [disk] }
    await report({ type: 'restore-point-sealed', restorePoint: sealed })
    const result = { kind: 'backup', restorePointId, readBytes: 3 * 1024 ** 2, storedBytes: 5 } as const
    await reportJob(jobId, 2, { state: 'succeeded', startedAt: now(), endedAt: now(), result })

    const end = await waiting
    expect(end.exitCode).toBe(0)
    expect(end.stderr).toContain(`job ${jobId}`)
    expect(end.stdout).toContain('backup of web-1: succeeded')
    expect(end.stdout).toContain('disk0: full: First backup of this disk')
    expect(await json(z.array(JobView), 'jobs', '--vm', 'web-1', '--limit', '1')).toMatchObject([{ jobId, result }])

    const older = { ...sealed, restorePointId: randomUUID(), takenAt: '2026-01-01T00:00:00.000Z' }
    await report({ type: 'restore-point-sealed', restorePoint: older })
    const both = async () => (await json(z.array(z.unknown()), 'restore-points', '--vm', 'web-1')).length === 2
    await waitUntil('the older point', both, limits)
    const verifying = await json(JobView, 'verify', 'latest', '--vm', 'web-1')
    expect(verifying).toMatchObject({ kind: 'verify', vmId: product.vm.vmId, restorePointId })
    await reportJob(verifying.jobId, 1, { kind: 'verify', state: 'cancelled', startedAt: now(), endedAt: now() })
  })

  test('that fails ends the watching with 1, and says why', async () => {
    const { jobId } = await runningBackup()
    const watching = run(['watch', jobId])
    const error = { code: 'repository.no_space', message: 'no room for web-1', advice: 'Free space.', details: {} }
    await reportJob(jobId, 2, { state: 'failed', startedAt: now(), endedAt: now(), error })
    const end = await watching
    expect(end.exitCode).toBe(1)
    expect(end.stdout).toMatch(/backup of web-1: failed in .*, no room for web-1 \(repository.no_space\)/)
    expect((await run(['job', jobId])).stdout).toContain('Free space.')
  })

  test('watched as JSON is one object a line, the last one at its end; progress comes by the live stream', async () => {
    const { jobId } = await runningBackup()
    let told = ''
    const watching = run(['watch', jobId, '--json'], { onOutput: (piece) => (told += piece) })
    const progress = { jobId, phase: 'copy', sentence: 'Copying disk0', doneBytes: 1, totalBytes: 2, bytesPerSecond: 1 }
    const send = async () => {
      const jobs = [{ ...progress, at: now() }]
      const topic = `sd/v1/a/${product.agent.agentId}/rt`
      await product.agent.send({ kind: 'progress', version: 1, agentId: product.agent.agentId, jobs }, { topic })
    }
    // It subscribes at some time of its own: progress goes on until then.
    const sending = setInterval(() => void send(), 100)
    const limits = { signal: AbortSignal.timeout(20_000), timeoutMs: 20_000 }
    await waitUntil('progress to be told', async () => told.includes('"doneBytes":1'), limits)
    clearInterval(sending)
    await reportJob(jobId, 2, { state: 'cancelled', startedAt: now(), endedAt: now() })
    const end = await watching
    const lines = end.stdout
      .trim()
      .split('\n')
      .map((line) => JobDetailView.parse(JSON.parse(line)))
    expect(end.exitCode).toBe(1)
    expect(lines.at(-1)?.state).toBe('cancelled')
    expect(lines.some((line) => line.progress?.doneBytes === 1)).toBe(true)
  })

  test('everything is told as it happens, as JSON lines, until Ctrl-C, which ends with 130', async () => {
    const stop = new AbortController()
    let told = ''
    const watching = run(['watch', '--json'], { interrupt: stop.signal, onOutput: (piece) => (told += piece) })
    const { jobId } = await runningBackup()
    let revision = 1
    const isTold = async () => {
      // It subscribes at some time of its own: something goes on happening until then.
      revision += 1
      await reportJob(jobId, revision, { state: 'running', startedAt: now() })
      return told.includes(`"jobId":"${jobId}","vmId":"${product.vm.vmId}","state":"running"`)
    }
    await waitUntil('the stream to tell', isTold, { signal: AbortSignal.timeout(20_000), timeoutMs: 20_000 })
    stop.abort()
    expect((await watching).exitCode).toBe(130)
    const events = told
      .trim()
      .split('\n')
      .map((line) => LiveEvent.parse(JSON.parse(line)))
    expect(events).toContainEqual({ type: 'job-changed', jobId, vmId: product.vm.vmId, state: 'running' })
    await reportJob(jobId, revision + 1, { state: 'cancelled', startedAt: now(), endedAt: now() })
  })

  test('a second backup of a VM is refused with 6 while one runs; the first can be cancelled', async () => {
    const { jobId } = await runningBackup()
    const second = await run(['backup', 'web-1'])
    expect(second).toMatchObject({
      exitCode: 6,
      stderr: expect.stringContaining('code: job.already_running') as string,
    })
    expect((await run(['cancel', jobId])).exitCode).toBe(0)
    await reportJob(jobId, 2, { state: 'cancelled', startedAt: now(), endedAt: now() })
    const limits = { signal: AbortSignal.timeout(20_000), timeoutMs: 20_000 }
    await waitUntil('its end', async () => (await json(JobDetailView, 'job', jobId)).state === 'cancelled', limits)
    expect((await run(['cancel', jobId])).exitCode).toBe(6)
  })
})
