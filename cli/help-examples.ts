export const programExamples = `Examples:
  $ sendense login --email owner@example.test
  $ sendense vms
  $ sendense backup web-1 --wait
  $ sendense restore latest --vm web-1 --name web-1-copy --wait

Environment:
  SENDENSE_URL    address of the portal
  SENDENSE_TOKEN  token to use instead of the stored session

Files:
  ~/.config/sendense/session.json  the session; readable by its owner only

Results go to standard output; progress and errors to standard error. An error is
three lines: what happened, its code, and what to do now.`

/** Below the help of each command. */
export const examples: Readonly<Record<string, string>> = {
  'login': `Examples:
  $ sendense login --url https://portal.example --email owner@example.test
  $ pass show sendense | sendense login --email owner@example.test --password-stdin`,
  'logout': `Examples:
  $ sendense logout`,
  'whoami': `Examples:
  $ sendense whoami
  $ sendense whoami --json | jq -r .role`,
  'sites': `Examples:
  $ sendense sites`,
  'agents': `Examples:
  $ sendense agents
  $ sendense agents --json | jq -r '.[] | select(.presence != "online") | .hostname'`,
  'vms': `Examples:
  $ sendense vms
  $ sendense vms --json | jq -r '.[] | select(.lastRestorePointAt == null) | .name'`,
  'vm': `Examples:
  $ sendense vm web-1`,
  'repositories': `Examples:
  $ sendense repositories`,
  'restore-points': `Examples:
  $ sendense restore-points --vm web-1
  $ sendense restore-points --vm web-1 --json | jq -r '.[0].restorePointId'`,
  'jobs': `States: queued, running, cancelling, succeeded, failed, cancelled

Examples:
  $ sendense jobs --state queued,running
  $ sendense jobs --vm web-1 --limit 5`,
  'job': `Examples:
  $ sendense job 0196f3f0-5f7a-7c1e-9d4e-2f6f1d1c0b7a`,
  'backup': `The agent reads only what changed since the last restore point where it can, and says
why where it cannot. Without --wait the command ends once the order is taken.

Examples:
  $ sendense backup web-1 --wait
  $ sendense backup web-1 --full --no-quiesce
  $ sendense backup web-1 --wait --json | jq .result`,
  'restore': `The original VM is never touched. The new VM has the disks as they were at the
instant of the restore point; it is booted and seen to come up unless --no-start is given.

Examples:
  $ sendense restore latest --vm web-1 --name web-1-copy --wait
  $ sendense restore 0196f3f0-5f7a-7c1e-9d4e-2f6f1d1c0b7a --name web-1-copy --no-start`,
  'verify': `Every chunk is read back and compared with the hash taken from the source. Nothing is
changed. Instead of an id, "latest" with --vm means the newest restore point of that VM.

Examples:
  $ sendense verify latest --vm web-1 --wait
  $ sendense verify 0196f3f0-5f7a-7c1e-9d4e-2f6f1d1c0b7a --wait`,
  'cancel': `Examples:
  $ sendense cancel 0196f3f0-5f7a-7c1e-9d4e-2f6f1d1c0b7a`,
  'watch': `With --json each line is one object: of one job, the job as "sendense job --json" shows
it, the last line at its end; of everything, the events of the live stream.

Examples:
  $ sendense watch
  $ sendense watch 0196f3f0-5f7a-7c1e-9d4e-2f6f1d1c0b7a
  $ sendense watch --json | jq -c 'select(.type == "job-changed")'`,
}
