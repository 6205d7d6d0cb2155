import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { promisify } from 'node:util'
import { createMover } from '@sendense/edge-agent/mover/create-mover.ts'
import { BenchReport } from './bench-report.ts'
import { measureCopies } from './mover/copies.ts'
import { measureIncremental } from './mover/incremental.ts'
import { measureManyJobs } from './mover/many-jobs.ts'
import type { MoverBench } from './mover/mover-bench.ts'
import { roomyDir } from './roomy-dir.ts'
import { reportTunnel } from './tunnel-benchmark.ts'

const GIB = 1024 ** 3
const run = promisify(execFile)

/**
 * `npm run bench:mover [copies|fifty-jobs|incremental|tunnel …]`: the mover against nbdcopy and qemu-img, the tunnel
 * against OpenSSH, in the same run, medians of five rounds. JSON lines; the last one has the figures of the parts that ran.
 */
const PARTS = {
  'copies': measureCopies,
  'fifty-jobs': measureManyJobs,
  'incremental': measureIncremental,
  'tunnel': async ({ report, signal }: MoverBench) => await reportTunnel(report, { signal }),
} as const

const wanted = process.argv.slice(2)
const unknown = wanted.find((name) => !Object.hasOwn(PARTS, name))
if (unknown !== undefined) throw new Error(`unknown part ${unknown}; there are ${Object.keys(PARTS).join(', ')}`)

const report = new BenchReport('mover')
report.note({
  nbdkit: await versionOf('nbdkit'),
  nbdcopy: await versionOf('nbdcopy'),
  qemuImg: await versionOf('qemu-img'),
})
const dir = await mkdtemp(join(await roomyDir(14 * GIB), 'sendense-bench-'))
try {
  await using mover = createMover({})
  for (const [name, measure] of Object.entries(PARTS)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue
    const partDir = join(dir, name)
    await mkdir(partDir)
    await measure({ dir: partDir, mover, report, signal: new AbortController().signal })
    await rm(partDir, { recursive: true, force: true })
  }
} finally {
  await rm(dir, { recursive: true, force: true })
}
report.end()

async function versionOf(program: string): Promise<string> {
  const { stdout } = await run(program, ['--version'])
  return stdout.split('\n')[0] ?? ''
}
