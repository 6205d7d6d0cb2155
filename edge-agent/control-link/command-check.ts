import { type CommandPayload, commandClassOf } from '@sendense/shared/contracts/agent-command.ts'
import type { KeyDelegation } from '@sendense/shared/contracts/signed-envelope.ts'
import { type ErrorDetails, PlatformError } from '@sendense/shared/errors/platform-error.ts'

/** Clocks of cloud and agent may differ so much, after correction, before an early command is refused. */
const EARLY_MAX_MS = 2 * 60_000

export interface CommandCheck {
  readonly payload: CommandPayload
  /** The delegation that lent the signer its classes; undefined: a root key signed. */
  readonly delegation: KeyDelegation | undefined
  readonly agentId: string
  readonly tenantId: string
  /** On the corrected clock. */
  readonly now: Date
}

/**
 * Is this authentic command meant for this agent? What is not leaves no trace but an alert.
 * Throws `command.wrong_audience`.
 */
export function checkAudience({ payload, agentId, tenantId }: CommandCheck): void {
  if (payload.agentId === agentId && payload.tenantId === tenantId) return
  throw new PlatformError(
    'command.wrong_audience',
    `command ${payload.commandId} is for agent ${payload.agentId} of tenant ${payload.tenantId}`,
    { details: { commandId: payload.commandId } },
  )
}

/**
 * May this command, which is for us and new, be run now? Its number is used up either way.
 * Throws `command.class_not_allowed`, `command.approval_missing`, `command.not_yet_valid`, `command.expired`.
 */
export function checkPermission({ payload, delegation, now }: CommandCheck): void {
  const { commandId, command, expiresAt, notBefore } = payload
  const details = commandFacts(payload)
  const needed = commandClassOf[command.type]
  if (payload.class !== needed) {
    const text = `command ${commandId} calls itself ${payload.class}, but ${command.type} is ${needed}`
    throw new PlatformError('command.class_not_allowed', text, { details })
  }
  if (delegation !== undefined && !delegation.classes.includes(needed)) {
    const text = `key ${delegation.keyId} may not give commands of class ${needed}`
    throw new PlatformError('command.class_not_allowed', text, { details })
  }
  if (needed === 'sensitive' || needed === 'destructive') {
    const text = `command ${commandId} of class ${needed} carries no approval`
    throw new PlatformError('command.approval_missing', text, { details })
  }
  if (now.getTime() + EARLY_MAX_MS < Date.parse(notBefore)) {
    throw new PlatformError('command.not_yet_valid', `command ${commandId} is valid from ${notBefore} on`, { details })
  }
  if (now.getTime() >= Date.parse(expiresAt)) {
    throw new PlatformError('command.expired', `command ${commandId} expired at ${expiresAt}`, { details })
  }
}

/** What an alert tells of an authentic command of ours: which one, and what it was about. */
export function commandFacts({ commandId, command }: CommandPayload): ErrorDetails {
  const { type } = command
  switch (command.type) {
    case 'refresh-inventory':
      return { commandId, type }
    case 'backup-vm':
      return { commandId, type, jobId: command.jobId, vmId: command.vmId }
    case 'restore-vm':
    case 'verify-restore-point':
      return { commandId, type, jobId: command.jobId, restorePointId: command.restorePointId }
    case 'cancel-job':
      return { commandId, type, jobId: command.jobId }
    default:
      return command satisfies never
  }
}
