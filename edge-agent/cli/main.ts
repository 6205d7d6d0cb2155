import process from 'node:process'
import { toPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { Command } from 'commander'
import { registerAgentStateCommands } from './agent-state-command.ts'
import { registerCaptureAccessCommands } from './capture-access-command.ts'
import { registerCaptureCommands } from './capture-command.ts'
import { registerChunkStoreCommands } from './chunk-store-command.ts'
import { registerCopyCommand } from './copy-command.ts'
import { registerKvmHostCommands } from './kvm-host-command.ts'
import { registerNbdCommands } from './nbd-command.ts'
import { registerRecoveryKitCommand } from './recovery-kit-command.ts'
import { registerRepositoryCommands } from './repository-command.ts'
import { registerServeCommand } from './serve-command.ts'
import { registerValidateStorageCommand } from './validate-storage-command.ts'

const program = new Command('sendense-edge').description('the Sendense edge agent, on its own machine')
registerAgentStateCommands(program)
registerKvmHostCommands(program)
registerValidateStorageCommand(program)
registerNbdCommands(program)
registerServeCommand(program)
registerRecoveryKitCommand(program)
registerCopyCommand(program)
registerRepositoryCommands(program)
registerChunkStoreCommands(program)
registerCaptureCommands(program)
registerCaptureAccessCommands(program)

try {
  await program.parseAsync()
} catch (error) {
  const known = toPlatformError(error)
  process.stderr.write(`${known.code}: ${known.message}\n${known.advice}\n`)
  process.exitCode = 1
}
