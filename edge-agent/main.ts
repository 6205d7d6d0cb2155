import process from 'node:process'
import { toPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { runAgent } from './agent.ts'
import { readConfig } from './config.ts'

/** Longer than any step that is not cut off in the middle but finished. */
const STOP_TIMEOUT_MS = 25_000

/** The edge agent's process: SIGTERM and SIGINT end it in order, a second one at once. */
async function main(): Promise<void> {
  const config = readConfig(process.env)
  const logger = createLogger('edge-agent', config.logLevel)
  const end = new AbortController()
  const stop = (name: string) => {
    if (end.signal.aborted) process.exit(1)
    logger.info({ signal: name }, 'stopping')
    end.abort(new Error(`stopped by ${name}`))
    setTimeout(() => {
      logger.error({}, 'stopping took too long')
      process.exit(1)
    }, STOP_TIMEOUT_MS).unref()
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  const onFatal = (error: unknown) => {
    logger.error({ err: error }, 'a broken invariant ends the agent')
    process.exit(70)
  }
  process.on('uncaughtException', onFatal)
  process.on('unhandledRejection', onFatal)
  try {
    await runAgent({ config, logger, signal: end.signal, onFatal })
  } catch (error) {
    if (end.signal.aborted) return
    logger.error({ err: error }, 'the agent could not begin')
    throw error
  }
}

try {
  await main()
} catch (error) {
  const known = toPlatformError(error)
  process.stderr.write(`${known.code}: ${known.message}\n${known.advice}\n`)
  process.exitCode = 1
}
