import { repositoryErrorCodes } from './repository-error-codes.ts'
import { storageErrorCodes } from './storage-error-codes.ts'
import { tunnelErrorCodes } from './tunnel-error-codes.ts'

/** never: the same call cannot succeed · backoff: try again later · after-fix: somebody must change something first */
export type RetryAdvice = 'never' | 'backoff' | 'after-fix'

export interface ErrorCodeFacts {
  readonly retry: RetryAdvice
  readonly httpStatus: number
  /** What to do now, for the person who sees it. */
  readonly advice: string
}

/** Every code the product can answer with. ERRORS.md lists the same; a test holds them together. */
export const errorCodes = {
  'internal.unexpected': {
    retry: 'backoff',
    httpStatus: 500,
    advice: 'Try again; if it comes back, send the log with this time to support.',
  },
  'internal.cancelled': { retry: 'never', httpStatus: 409, advice: 'Nothing to do: somebody cancelled it.' },
  'input.invalid': { retry: 'never', httpStatus: 400, advice: 'Correct the named field and send it again.' },
  'config.invalid': { retry: 'after-fix', httpStatus: 500, advice: 'Correct the named setting and start again.' },

  'source.vm_not_found': {
    retry: 'after-fix',
    httpStatus: 404,
    advice: 'Refresh the inventory; the VM may have been deleted or moved.',
  },
  'source.vm_not_running': { retry: 'after-fix', httpStatus: 409, advice: 'Start the VM and try again.' },
  'source.unreachable': {
    retry: 'backoff',
    httpStatus: 503,
    advice: 'Check that the hypervisor runs and that the agent may reach it.',
  },
  'source.busy': { retry: 'backoff', httpStatus: 409, advice: 'Wait until the other backup of this VM has ended.' },
  'source.snapshot_failed': {
    retry: 'backoff',
    httpStatus: 502,
    advice: 'Look at the message of the hypervisor, mend it and try again.',
  },
  'source.read_failed': {
    retry: 'backoff',
    httpStatus: 502,
    advice: 'Check the health of the named disk and its storage.',
  },
  'source.protocol_violation': {
    retry: 'never',
    httpStatus: 502,
    advice: 'Send the log to support with the versions of hypervisor and agent.',
  },
  'source.disk_unsupported': {
    retry: 'after-fix',
    httpStatus: 422,
    advice: 'Exclude the named disk or change its format.',
  },
  'source.vm_unfit': {
    retry: 'after-fix',
    httpStatus: 422,
    advice: 'Change what the message names (a name too long, a disk id with other characters) on the platform.',
  },
  'source.fleecing_space': {
    retry: 'after-fix',
    httpStatus: 507,
    advice:
      'Free space beside the disks of the VM: while a backup runs, old data that the guest overwrites is kept there.',
  },
  'source.guest_stalled': {
    retry: 'backoff',
    httpStatus: 503,
    advice:
      'Look at the storage under the VM: its disk operations hung while it was backed up. Back it up at a quieter time, or slower.',
  },
  'source.disk_size_changed': {
    retry: 'backoff',
    httpStatus: 409,
    advice: 'Run the backup again: the disk was resized meanwhile.',
  },

  'target.vm_exists': { retry: 'after-fix', httpStatus: 409, advice: 'Choose another name for the restored VM.' },
  'target.not_ours': {
    retry: 'never',
    httpStatus: 409,
    advice: 'Delete it on the platform: only VMs that a restore made are deleted here.',
  },
  'target.no_space': { retry: 'after-fix', httpStatus: 507, advice: 'Free space on the target or choose another one.' },
  'target.disk_size_mismatch': {
    retry: 'after-fix',
    httpStatus: 422,
    advice: 'Choose a target disk of exactly the size of the restored disk.',
  },
  'target.create_failed': {
    retry: 'backoff',
    httpStatus: 502,
    advice: 'Look at the message of the hypervisor, mend it and try again.',
  },
  'target.write_failed': {
    retry: 'backoff',
    httpStatus: 502,
    advice: 'Check the health and the free space of the target storage.',
  },
  'target.boot_failed': {
    retry: 'after-fix',
    httpStatus: 502,
    advice: 'The disks are restored; look at the console of the new VM.',
  },

  ...repositoryErrorCodes,
  ...storageErrorCodes,

  'nbd.protocol_violation': {
    retry: 'never',
    httpStatus: 502,
    advice: 'Send the log to support with the version of the NBD server.',
  },
  'nbd.export_not_found': { retry: 'after-fix', httpStatus: 404, advice: 'Check the name of the export.' },
  'nbd.context_not_found': {
    retry: 'after-fix',
    httpStatus: 404,
    advice: 'The export has no such change tracking; the next backup compares all data.',
  },
  'nbd.access_denied': {
    retry: 'after-fix',
    httpStatus: 403,
    advice: 'Allow the agent on the NBD server, or the way it connects.',
  },
  'nbd.disconnected': {
    retry: 'backoff',
    httpStatus: 503,
    advice: 'Check that the NBD server runs; the job tries again.',
  },
  'nbd.listen_failed': {
    retry: 'after-fix',
    httpStatus: 500,
    advice: 'Choose another socket path or port, or end the program that has it.',
  },
  'nbd.io_failed': { retry: 'backoff', httpStatus: 502, advice: 'Check the disk behind the NBD server.' },
  'nbd.read_only': { retry: 'after-fix', httpStatus: 409, advice: 'Export it writable.' },
  'nbd.no_space': { retry: 'after-fix', httpStatus: 507, advice: 'Free space on the storage behind the NBD server.' },
  'nbd.timeout': {
    retry: 'backoff',
    httpStatus: 504,
    advice: 'Check the storage behind the NBD server; it does not answer.',
  },
  'nbd.unsupported': {
    retry: 'never',
    httpStatus: 501,
    advice: 'Use an NBD server that can do what the message names.',
  },
  'nbd.tls_failed': {
    retry: 'after-fix',
    httpStatus: 502,
    advice:
      'Check certificate authority, server name and dates of the certificates on both sides of the NBD connection.',
  },
  'nbd.export_changed': {
    retry: 'backoff',
    httpStatus: 409,
    advice: 'Start again: after the connection was lost, the NBD server shows another disk under the same name.',
  },
  'nbd.writes_uncertain': {
    retry: 'backoff',
    httpStatus: 503,
    advice: 'Write again what came after the last flush: the NBD server was lost, and it may have forgotten it.',
  },

  'mover.overloaded': {
    retry: 'backoff',
    httpStatus: 503,
    advice: 'Too many disks are copied at once; let some of the jobs end first.',
  },
  'mover.thread_ended': {
    retry: 'backoff',
    httpStatus: 500,
    advice: 'Run the job again; if it comes back, send the log with this time to support.',
  },

  'qemu.start_failed': {
    retry: 'after-fix',
    httpStatus: 500,
    advice: 'Check that QEMU is installed and read its message.',
  },
  'qemu.command_failed': { retry: 'backoff', httpStatus: 502, advice: 'Look at the message of QEMU.' },
  'qemu.disconnected': {
    retry: 'backoff',
    httpStatus: 503,
    advice: 'The QEMU process has ended or its socket is gone; check the VM.',
  },

  'qemu.timeout': {
    retry: 'backoff',
    httpStatus: 504,
    advice: 'The VM or its guest agent does not answer; look at its console and at the load of the host.',
  },

  ...tunnelErrorCodes,

  'job.not_found': { retry: 'never', httpStatus: 404, advice: 'Choose a job that is listed.' },
  'job.already_running': {
    retry: 'backoff',
    httpStatus: 409,
    advice: 'Wait until the running job of this VM has ended, or cancel it.',
  },
  'job.interrupted': {
    retry: 'backoff',
    httpStatus: 500,
    advice: 'The agent was stopped in the middle; start the job again.',
  },
  'job.not_cancellable': { retry: 'never', httpStatus: 409, advice: 'The job has already ended.' },

  'command.invalid': {
    retry: 'never',
    httpStatus: 400,
    advice:
      'Cloud and agent may differ too much in version: upgrade the agent. If they do not, check who else can write to the message broker.',
  },
  'command.expired': {
    retry: 'never',
    httpStatus: 410,
    advice: 'Send the command again now that the agent is online.',
  },
  'command.not_yet_valid': { retry: 'backoff', httpStatus: 425, advice: 'Check the clock of the agent.' },
  'command.signature_invalid': {
    retry: 'never',
    httpStatus: 401,
    advice:
      'Nothing was done. The command was changed on its way or signed by a stranger: check who can write to the message broker.',
  },
  'command.wrong_audience': {
    retry: 'never',
    httpStatus: 403,
    advice:
      'Nothing was done. A command for another agent or tenant was sent here: check who can write to the message broker.',
  },
  'command.class_not_allowed': {
    retry: 'never',
    httpStatus: 403,
    advice:
      'Nothing was done. A signing key was used for more than it was lent for: check who can reach the keys of the cloud.',
  },
  'command.replayed': {
    retry: 'never',
    httpStatus: 409,
    advice:
      'Nothing was done. Somebody kept an old command and sent it again: check who can write to the message broker.',
  },
  'command.unsupported': { retry: 'after-fix', httpStatus: 501, advice: 'Upgrade the agent.' },
  'command.approval_missing': { retry: 'after-fix', httpStatus: 403, advice: 'Have the command approved first.' },

  'cloud.unreachable': {
    retry: 'backoff',
    httpStatus: 503,
    advice: 'Check the address and the network, and that the cloud runs.',
  },

  'agent.not_found': { retry: 'never', httpStatus: 404, advice: 'Choose an agent that is listed.' },
  'agent.offline': {
    retry: 'backoff',
    httpStatus: 503,
    advice: 'The command waits until the agent is back; check its machine and network.',
  },
  'agent.not_enrolled': {
    retry: 'after-fix',
    httpStatus: 409,
    advice: 'Enrol the agent with a token from the portal.',
  },
  'agent.revoked': { retry: 'after-fix', httpStatus: 403, advice: 'Enrol the agent again.' },
  'agent.event_refused': {
    retry: 'never',
    httpStatus: 422,
    advice:
      'Refresh the inventory of the agent. If it comes back, the agent reports what is not its own: look at its host and at the log of the cloud.',
  },
  'agent.events_lost': {
    retry: 'never',
    httpStatus: 410,
    advice:
      'The cloud was restored from an older copy: jobs and restore points of that time may be missing in its lists; the repositories have them.',
  },
  'enrolment.token_invalid': {
    retry: 'after-fix',
    httpStatus: 401,
    advice: 'Make a new enrolment token in the portal; each works once and for a day.',
  },
  'enrolment.request_invalid': { retry: 'never', httpStatus: 400, advice: 'Upgrade the agent and enrol again.' },

  'identity.credentials_invalid': { retry: 'never', httpStatus: 401, advice: 'Check e-mail address and password.' },
  'identity.session_required': { retry: 'after-fix', httpStatus: 401, advice: 'Log in.' },
  'identity.forbidden': { retry: 'after-fix', httpStatus: 403, advice: 'Ask an owner or admin for the permission.' },
  'identity.rate_limited': { retry: 'backoff', httpStatus: 429, advice: 'Wait a minute and try again.' },
  'resource.not_found': {
    retry: 'never',
    httpStatus: 404,
    advice: 'Choose one that is listed; it may have been deleted.',
  },
  'resource.conflict': {
    retry: 'backoff',
    httpStatus: 409,
    advice: 'Reload and try again: somebody changed it meanwhile.',
  },
  'database.unavailable': {
    retry: 'backoff',
    httpStatus: 503,
    advice: 'Check that the database runs; work goes on when it is back.',
  },

  'setup.package_missing': { retry: 'after-fix', httpStatus: 500, advice: 'Run: npm run setup.' },
  'setup.command_failed': {
    retry: 'after-fix',
    httpStatus: 500,
    advice: 'Read what the named program said, mend it and start again.',
  },
  'stack.already_running': {
    retry: 'after-fix',
    httpStatus: 409,
    advice: 'Use the one that runs, or stop it with Ctrl-C in its terminal first.',
  },
  'stack.start_failed': {
    retry: 'after-fix',
    httpStatus: 500,
    advice: 'Read the log of the named process; "npm start -- --reset" begins with empty data.',
  },
  'stack.process_ended': {
    retry: 'backoff',
    httpStatus: 503,
    advice: 'Read the log of the named process and start again; data is kept.',
  },
} as const satisfies Record<string, ErrorCodeFacts>

export type ErrorCode = keyof typeof errorCodes
export const errorCodeList = Object.keys(errorCodes) as [ErrorCode, ...ErrorCode[]]

export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(errorCodes, text)
}
