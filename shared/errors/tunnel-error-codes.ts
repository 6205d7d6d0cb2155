import type { ErrorCodeFacts } from './error-codes.ts'

/** Codes of tunnels and capture agents; part of `errorCodes`. */
export const tunnelErrorCodes = {
  'tunnel.unreachable': {
    retry: 'backoff',
    httpStatus: 503,
    advice: 'Check that the edge agent runs and that its tunnel port can be reached from the capture host.',
  },
  'tunnel.host_key_mismatch': {
    retry: 'after-fix',
    httpStatus: 502,
    advice:
      'Somebody else may be answering in the place of the edge agent. If its key was really replaced, enrol the capture agent again.',
  },
  'tunnel.login_refused': {
    retry: 'after-fix',
    httpStatus: 403,
    advice:
      'The key is not known here or was revoked: enrol the capture agent with a new token, or find out who tried.',
  },
  'tunnel.token_invalid': {
    retry: 'after-fix',
    httpStatus: 401,
    advice: 'Make a new token with "sendense-edge capture-token create"; each works once and for a day.',
  },
  'tunnel.port_not_granted': {
    retry: 'after-fix',
    httpStatus: 403,
    advice: 'Enrol the capture agent with a token for more ports.',
  },
  'tunnel.request_refused': {
    retry: 'never',
    httpStatus: 403,
    advice:
      'A capture agent asked for more than its forwarded ports: find out who uses its key, and revoke it if in doubt.',
  },
  'tunnel.rate_limited': {
    retry: 'backoff',
    httpStatus: 429,
    advice: 'Too many connections to the tunnel port at once: wait, or block the named address if it is not yours.',
  },
  'tunnel.not_connected': {
    retry: 'backoff',
    httpStatus: 503,
    advice: 'Check that the capture agent runs and can reach the edge agent.',
  },
  'tunnel.disconnected': {
    retry: 'backoff',
    httpStatus: 503,
    advice: 'The network between capture host and edge agent broke; the tunnel is set up again by itself.',
  },
  'tunnel.process_failed': {
    retry: 'backoff',
    httpStatus: 500,
    advice:
      'A process that runs SSH connections was ended with them, because it said what it never should. They come back by themselves. Look in the log for what it said, and find out who was connected.',
  },
  'tunnel.protocol_violation': {
    retry: 'never',
    httpStatus: 502,
    advice: 'Find out what connects to the tunnel port: it does not speak SSH as it should.',
  },

  'capture.not_enrolled': {
    retry: 'after-fix',
    httpStatus: 409,
    advice: 'Make a token on the edge agent (sendense-edge capture-token create) and run sendense-edge capture enrol.',
  },
  'capture.already_enrolled': {
    retry: 'after-fix',
    httpStatus: 409,
    advice: 'Say --replace to leave the edge agent that it belongs to now; its operator should revoke it there.',
  },
  'capture.not_running': {
    retry: 'after-fix',
    httpStatus: 503,
    advice: 'Start it: sendense-edge capture run.',
  },
  'capture.already_running': {
    retry: 'after-fix',
    httpStatus: 409,
    advice: 'Stop the other capture agent, or give this one a state directory of its own.',
  },
  'capture.disconnected': {
    retry: 'backoff',
    httpStatus: 503,
    advice: 'Check that the capture agent runs on the KVM host; the connection comes back by itself.',
  },
  'capture.no_answer': {
    retry: 'backoff',
    httpStatus: 504,
    advice: 'Look at the load and the log of the named KVM host.',
  },
  'capture.version_unsupported': {
    retry: 'after-fix',
    httpStatus: 409,
    advice: 'Update the older of the two: edge agent or capture agent.',
  },
  'capture.protocol_violation': {
    retry: 'never',
    httpStatus: 502,
    advice: 'Send the logs of edge agent and capture agent to support, with both versions.',
  },
  'capture.ports_exhausted': {
    retry: 'backoff',
    httpStatus: 503,
    advice:
      'Wait for other backups of this KVM host, or grant its capture agent more ports: two for each backup at once, and two more.',
  },
} as const satisfies Record<string, ErrorCodeFacts>
