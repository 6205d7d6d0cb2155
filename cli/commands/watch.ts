import type { JobDetailView, LiveEvent } from '@sendense/shared/contracts/api/protection-api.ts'
import type { Command } from 'commander'
import { followJob } from '../api/follow-job.ts'
import { createJobFeed, type JobFeed } from '../api/job-feed.ts'
import type { CliContext, CommandOutcome } from '../cli-context.ts'
import { exitCodes } from '../exit-codes.ts'
import { createJobReporter } from '../output/job-reporter.ts'
import { jobSentence } from '../output/job-text.ts'
import { printable } from '../output/printable.ts'
import { progressFigures } from '../output/progress-text.ts'
import { type CommandRun, openRun } from './command-run.ts'
import { parseId } from './parse-id.ts'

/** One job until it ends, or everything until Ctrl-C. */
export async function watch(context: CliContext, command: Command, jobId: string | undefined): CommandOutcome {
  await using run = await openRun(context, command)
  const feed = createJobFeed(run.api)
  return jobId === undefined ? await watchAll(run, feed) : await watchJob(run, feed, parseId(jobId, 'job'))
}

async function watchJob(run: CommandRun, feed: JobFeed, jobId: string): CommandOutcome {
  const reporter = createJobReporter(run.context.stdout)
  let state: JobDetailView['state'] = 'queued'
  for await (const job of followJob(feed, jobId, run.context)) {
    state = job.state
    if (run.json) run.context.stdout.write(`${JSON.stringify(job)}\n`)
    else if (job.endedAt === null) reporter.show(job)
    else {
      reporter.close()
      run.context.stdout.write(`${printable(jobSentence(job))}\n`)
    }
  }
  return state === 'succeeded' ? exitCodes.ok : exitCodes.failed
}

async function watchAll(run: CommandRun, feed: JobFeed): CommandOutcome {
  const { signal } = run.context
  // Ask once, so that a session that is over is told before the stream is waited for.
  await run.api.session.current.query()
  const names = new Map<string, string>()
  for await (const event of feed.events({ signal })) {
    if (run.json) run.context.stdout.write(`${JSON.stringify(event)}\n`)
    else run.context.stdout.write(`${printable(await eventSentence(feed, names, event))}\n`)
  }
  return signal.aborted ? exitCodes.interrupted : exitCodes.ok
}

const NAMES_MAX = 1000

/** @param names of jobs seen so far: progress comes often and is not worth a request each */
async function eventSentence(feed: JobFeed, names: Map<string, string>, event: LiveEvent): Promise<string> {
  switch (event.type) {
    case 'job-changed': {
      const job = await feed.getJob(event.jobId)
      remember(names, job)
      return `job ${event.jobId} ${jobSentence(job)}`
    }
    case 'job-progress': {
      const { progress } = event
      if (!names.has(progress.jobId)) remember(names, await feed.getJob(progress.jobId))
      const figures = progressFigures(progress)
      return `job ${progress.jobId} ${names.get(progress.jobId)}: ${figures === '' ? '' : `${figures}: `}${progress.sentence}`
    }
    case 'restore-point-added':
      return `restore point ${event.restorePointId} added`
    case 'restore-point-changed':
      return `restore point ${event.restorePointId} changed`
    case 'inventory-changed':
      return `agent ${event.agentId} reported its inventory`
    case 'agent-changed':
      return `agent ${event.agentId} changed`
    case 'alert-raised':
      return `alert ${event.alertId} raised, ${event.severity}; see it with: sendense alerts`
    case 'alert-acknowledged':
      return `alert ${event.alertId} acknowledged`
    case 'stream-reset':
      return 'some events may have been missed'
    default:
      return event satisfies never
  }
}

function remember(names: Map<string, string>, job: JobDetailView): void {
  if (names.size >= NAMES_MAX) names.clear()
  names.set(job.jobId, `${job.kind} of ${job.vmName}`)
}
