import { type ErrorCode, errorCodes, isErrorCode } from './error-codes.ts'

/** What has happened when an alert of this code is raised. */
const headlines: { readonly [C in ErrorCode]?: string } = {
  'command.invalid': 'A message that is no valid command was refused',
  'command.expired': 'A command that came too late was refused',
  'command.not_yet_valid': 'A command that is not valid yet was refused',
  'command.signature_invalid': 'A command with a wrong signature was refused',
  'command.wrong_audience': 'A command that is meant for another agent was refused',
  'command.class_not_allowed': 'A command that its signer may not give was refused',
  'command.replayed': 'An old command that was sent again was refused',
  'command.unsupported': 'A command that this agent does not know was refused',
  'command.approval_missing': 'A command without the approval it needs was refused',
  'tunnel.login_refused': 'A log-in at the tunnel port was refused',
  'tunnel.token_invalid': 'A log-in at the tunnel port with a wrong or used token was refused',
  'tunnel.port_not_granted': 'A capture agent asked for a port that is not granted to it',
  'tunnel.request_refused': 'A capture agent asked for more than its forwarded ports',
  'tunnel.rate_limited': 'Too many connections came to the tunnel port',
  'tunnel.process_failed': 'A process that runs tunnels said what it never should, and was ended with them',
  'tunnel.protocol_violation': 'Something that does not speak SSH as it should connected to the tunnel port',
  'agent.event_refused': 'A report of the agent was refused',
  'agent.events_lost': 'Reports of the agent are lost',
}

/** What an alert is told by. An agent's own words are taken only where this version has none for the code. */
interface AlertedError {
  readonly code: string
  readonly message: string
  readonly advice: string
}

/** What happened, as a sentence without its full stop, for people who know no ids. */
export function alertHeadline({ code, message }: AlertedError): string {
  return (isErrorCode(code) ? headlines[code] : undefined) ?? message
}

/** What to do now. */
export function alertAdvice({ code, advice }: AlertedError): string {
  return isErrorCode(code) ? errorCodes[code].advice : advice
}
