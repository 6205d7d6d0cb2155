import { commandClassOf } from '@sendense/shared/contracts/agent-command.ts'

/** Version of the fleet protocol this agent speaks. */
export const PROTOCOL_VERSION = 1

/** Commands this agent can run, as the cloud sees them at enrolment and at each sync. */
export const capabilities: readonly string[] = Object.keys(commandClassOf)
