/** What `repository copy --help` says beyond its options. */
export const REPOSITORY_COPY_HELP = `
Repositories
  By id, name or place, as chunk-store list shows them; a local one by its directory. Both must be this agent's, which may
  run meanwhile. Their kinds, keys and chunk sizes may differ.

What is copied
  Every restore point that the other does not have, of each VM oldest first; only what differs from the one before it is
  read. Each chunk is checked before it is used and encrypted anew with the other's own keys. A copy is the same restore
  point: same id, same time; it restores without the repository that it came from.

Interrupted, killed, or out of space
  Say the same again: what was copied is not copied again, and nothing is ever there in part.

Exit status
  0 all is copied · 1 something could not be: what is damaged is named and not copied · 130 stopped by a signal.

Examples
  Everything to the bucket, every night:
    $ sendense-edge repository copy --from /var/backups/sendense --to offsite
  One VM back, for scripts:
    $ sendense-edge repository copy --from offsite --to /var/backups/sendense --vm 0b9c… --json
`
