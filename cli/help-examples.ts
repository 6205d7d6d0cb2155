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
  'alerts': `An alert is raised where something should not have happened: an agent refused a
command that was tampered with, sent to the wrong agent, repeated or too late; a report
of an agent was refused or is lost. It stays open until somebody acknowledges it; it does
not go by itself. Without --all only open ones are listed.

Severities, the worst first:
  critical  somebody may be tampering, or something is lost: look at it now
  warning   something did not work as it should: look at it today
  info      good to know

Columns: id, severity, when it was raised in your time zone, the agent it is about and its
site, the VM where it is about one, and what happened. Below the table stands what to do.
Of the same refusal an agent raises one alert a minute; "and N more before it" counts those
it did not tell one by one. With --json: the alerts as the API gives them, as one array;
"error" holds code, message and details of each.

It ends with 0 whether or not alerts are open; scripts test the list.

Examples:
  $ sendense alerts
  $ sendense alerts --severity critical --site "Head office"
  $ sendense alerts --all --limit 1000 --json | jq -r '.[].error.code' | sort | uniq -c
  $ test "$(sendense alerts --severity critical --json | jq length)" -eq 0
  $ sendense alerts acknowledge 0196f3f0-5f7a-7c1e-9d4e-2f6f1d1c0b7a`,
  'acknowledge': `Acknowledged alerts are no longer counted or listed as open; "sendense alerts --all" still
shows them, with who acknowledged them and when. All alerts that are named are acknowledged, or none:
where one is not there the command ends with 4. Acknowledging one again changes nothing.
The role operator, admin or owner is needed.

Examples:
  $ sendense alerts acknowledge 0196f3f0-5f7a-7c1e-9d4e-2f6f1d1c0b7a
  $ sendense alerts --severity info --json | jq -r '.[].alertId' |
      xargs -r -n 100 sendense alerts acknowledge`,
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
