import { once } from 'node:events'
import { toPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { startCloud } from './cloud.ts'
import { readConfig } from './config.ts'

try {
  const config = readConfig(process.env)
  await using cloud = await startCloud(config, createLogger('cloud', config.logLevel))
  await Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')])
  cloud.logger.info({}, 'stopping')
} catch (error) {
  const { code, message, advice } = toPlatformError(error)
  process.stderr.write(`${code}: ${message}\n${advice}\n`)
  process.exitCode = 1
}
