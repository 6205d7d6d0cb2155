/** What repositories answer with: the part of the table that is about them. */
export const repositoryErrorCodes = {
  'repository.missing': {
    retry: 'after-fix',
    httpStatus: 404,
    advice: 'Mount or reconnect the storage of the repository, or correct its path.',
  },
  'repository.not_a_repository': {
    retry: 'after-fix',
    httpStatus: 422,
    advice: 'The path holds something else: choose an empty directory or the right one.',
  },
  'repository.format_unsupported': {
    retry: 'after-fix',
    httpStatus: 422,
    advice: 'Upgrade the agent: the repository was written by a newer one.',
  },
  'repository.no_space': {
    retry: 'after-fix',
    httpStatus: 507,
    advice: 'Free space in the repository or extend its storage.',
  },
  'repository.io_failed': { retry: 'backoff', httpStatus: 502, advice: 'Check the storage of the repository.' },
  'repository.restore_point_not_found': {
    retry: 'never',
    httpStatus: 404,
    advice: 'Choose a restore point that is listed.',
  },
  'repository.chunk_corrupt': {
    retry: 'never',
    httpStatus: 500,
    advice: 'Restore another point; the next backup re-reads the damaged range.',
  },
  'repository.manifest_invalid': {
    retry: 'never',
    httpStatus: 500,
    advice: 'Do not use this restore point; choose another one and check the storage.',
  },
  'repository.base_mismatch': {
    retry: 'backoff',
    httpStatus: 409,
    advice: 'Run the backup again: it will compare all data.',
  },
  'repository.locked': { retry: 'backoff', httpStatus: 409, advice: 'Wait until the other writer has ended.' },
  'repository.pack_corrupt': {
    retry: 'never',
    httpStatus: 500,
    advice: 'Check the storage: a file of the repository was changed. The next backup re-reads what was in it.',
  },
  'repository.object_corrupt': {
    retry: 'never',
    httpStatus: 500,
    advice: 'Check the storage: a file of the repository was changed, or was put where it does not belong.',
  },
  'repository.restore_point_held': {
    retry: 'after-fix',
    httpStatus: 409,
    advice: 'Somebody holds this restore point: release it first, if that is right.',
  },
  'repository.key_wrong': {
    retry: 'after-fix',
    httpStatus: 403,
    advice: 'Try the right passphrase, recovery kit or key: this one does not open the repository.',
  },
  'repository.key_missing': {
    retry: 'after-fix',
    httpStatus: 403,
    advice: 'Load the newest keys of the repository: the data was written with keys that are not at hand.',
  },
  'repository.key_file_invalid': {
    retry: 'after-fix',
    httpStatus: 422,
    advice: 'Open the repository with another recipient, such as the recovery kit, and write its key files anew.',
  },
  'repository.key_untrusted': {
    retry: 'after-fix',
    httpStatus: 409,
    advice: 'Find out who else can write to the storage: it holds key files that are not of this repository.',
  },
  'repository.copy_conflict': {
    retry: 'never',
    httpStatus: 409,
    advice: 'Keep both: two different restore points have one id. Find out which repository was tampered with.',
  },
  'repository.clock_jumped': {
    retry: 'after-fix',
    httpStatus: 409,
    advice:
      'Set the clocks of the storage and of this machine right: nothing is deleted while they cannot be relied on.',
  },
  'repository.lease_lost': {
    retry: 'backoff',
    httpStatus: 409,
    advice: 'Run the backup again: it stood still for so long that others went on without it.',
  },
} as const
