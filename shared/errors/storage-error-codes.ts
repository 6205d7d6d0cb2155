/** What object stores answer with: the part of the table that is about them. */
export const storageErrorCodes = {
  'storage.not_found': {
    retry: 'never',
    httpStatus: 404,
    advice: 'The object is not in the store: choose another one, or look for what deleted it.',
  },
  'storage.container_missing': {
    retry: 'after-fix',
    httpStatus: 404,
    advice: 'Create the bucket, container or directory, or correct its name in the settings.',
  },
  'storage.mount_missing': {
    retry: 'after-fix',
    httpStatus: 503,
    advice: 'Mount the storage again at the named directory; nothing was written beside it.',
  },
  'storage.mount_stale': {
    retry: 'after-fix',
    httpStatus: 503,
    advice: 'Unmount and mount the storage again: its server has forgotten this mount.',
  },
  'storage.wrong_store': {
    retry: 'after-fix',
    httpStatus: 409,
    advice: 'Mount or name the right storage: what is there belongs to another store, or to none.',
  },
  'storage.unreachable': {
    retry: 'backoff',
    httpStatus: 503,
    advice: 'Check that the agent may reach the storage: name, port, firewall, proxy, certificate.',
  },
  'storage.timeout': {
    retry: 'backoff',
    httpStatus: 504,
    advice: 'Check the storage and the way to it: it did not answer in time.',
  },
  'storage.throttled': { retry: 'backoff', httpStatus: 503, advice: 'Wait: the storage asked for fewer requests.' },
  'storage.unavailable': {
    retry: 'backoff',
    httpStatus: 503,
    advice: 'Wait and try again; look at the status page of the storage if it lasts.',
  },
  'storage.io_failed': { retry: 'backoff', httpStatus: 502, advice: 'Check the disk or server behind the storage.' },
  'storage.no_space': {
    retry: 'after-fix',
    httpStatus: 507,
    advice: 'Free space in the storage, or raise its quota.',
  },
  'storage.read_only': {
    retry: 'after-fix',
    httpStatus: 409,
    advice: 'Make the storage writable: a file system that found an error makes itself read-only.',
  },
  'storage.credentials_invalid': {
    retry: 'after-fix',
    httpStatus: 401,
    advice: 'Enter the keys of the storage again; they may have been rotated or deleted.',
  },
  'storage.access_denied': {
    retry: 'after-fix',
    httpStatus: 403,
    advice: 'Grant the keys of the storage the right that the message names.',
  },
  'storage.clock_skew': {
    retry: 'backoff',
    httpStatus: 403,
    advice: 'Set the clock of the agent’s machine (NTP): the storage refuses requests from another time.',
  },
  'storage.checksum_mismatch': {
    retry: 'never',
    httpStatus: 422,
    advice: 'Run it again; if it comes back, check memory and network of the machine: bytes changed on their way.',
  },
  'storage.immutable': {
    retry: 'never',
    httpStatus: 409,
    advice: 'Wait until the retention of the object has ended and its legal hold is lifted.',
  },
  'storage.retention_refused': {
    retry: 'never',
    httpStatus: 409,
    advice: 'Choose a later date: a retention is never shortened, nor set in the past.',
  },
  'storage.archived': {
    retry: 'after-fix',
    httpStatus: 409,
    advice: 'Rehydrate the object first; from the archive that takes hours.',
  },
  'storage.unsupported': {
    retry: 'after-fix',
    httpStatus: 501,
    advice: 'The storage cannot do this: see what `sendense-edge validate-storage` says of it.',
  },
  'storage.refused': {
    retry: 'after-fix',
    httpStatus: 502,
    advice: 'Look at the answer of the storage in the message, and at what `sendense-edge validate-storage` says.',
  },
} as const
