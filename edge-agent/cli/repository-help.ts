/** What `repository prune --help` says beyond its options. */
export const PRUNE_HELP = `
What is kept
  --keep-last keeps so many points of each VM; the others keep the newest point of each of so many hours, days, weeks (from
  Monday), months or years that have one, by the clocks of --zone. A point stays when one of the rules keeps it. Whatever is
  asked for, these stay: the newest point of each VM, the newest that passed its verification, and what is held.

What is deleted
  Everything else, oldest first, VM by VM. --dry-run shows it and deletes nothing; --yes deletes. A VM that is being backed
  up, or of which something cannot be read, is left as it is and named; then the exit status is 1.
  The space of a point that others are built on is given back where that is worth its cost.

Examples
  See what a policy means:
    $ sendense-edge repository prune --keep-last 14 --keep-weekly 8 --keep-monthly 12 --zone Europe/Berlin --dry-run
  Do it, for scripts:
    $ sendense-edge repository prune --keep-daily 30 --yes --json
`

/** What `repository delete --help` says beyond its options. */
export const DELETE_HELP = `
The point is gone when the command ends, and cannot be brought back. All others stay as they are, also those that were
built on it. A point that is held is not deleted; one of a VM that is being backed up neither: try again then.
`
