import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { type CliConfig, readConfig } from './config.ts'
import { exitCodeOf } from './exit-codes.ts'
import { runCommandLine } from './program.ts'

const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort())
// A reader that went away (`sendense jobs | head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

const config = configOrReport()
if (config !== undefined) {
  const { stdout, stderr, stdin } = process
  const context = { config, stdout, stderr, stdin, clock: systemClock, signal: interrupted.signal }
  process.exitCode = await runCommandLine(process.argv.slice(2), context)
}

function configOrReport(): CliConfig | undefined {
  try {
    return readConfig(process.env)
  } catch (error) {
    const report = toErrorReport(error)
    process.stderr.write(`error: ${report.message}\ncode: ${report.code}\nadvice: ${report.advice}\n`)
    process.exitCode = exitCodeOf(report)
    return undefined
  }
}
