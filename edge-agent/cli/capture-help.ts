/** Long helps of `sendense-edge capture`, in the manner of a manual page. */

export const captureHelp = `
Description:
  A capture agent runs beside the disks. It dials the edge agent over SSH, so the KVM host needs no open port, and
  lets the edge agent reach the QEMU monitors of the VMs under one directory, their NBD exports while a backup or a
  restore is on, and nothing else. Disks never pass through it: QEMU serves them, the tunnel carries them.

  On the edge agent:    sendense-edge capture-token create --name kvm1
  On the KVM host:      sendense-edge capture enrol --token TOKEN
                        sendense-edge capture run --kvm-root /srv/vms --kvm-runtime-dir /run/vms

Exit status:
  0  it worked        1  it did not: code, message and what to do are on standard error
`

export const enrolHelp = `
Description:
  Makes an Ed25519 key here, which never leaves this machine, and logs in once with the token. The edge agent's host key
  is in the token and pinned from then on: an edge agent with another one is never talked to. A token works once and
  for 24 hours; said again after a lost answer, the command goes on with the same key.

Files:
  STATE-DIR/identity.json   key, edge agent and granted ports; mode 0600. Back it up like a private key.

Examples:
  sendense-edge capture enrol --token sendense-capture-1.eyJ…
  ssh edge-agent sendense-edge capture-token create --name kvm1 | sendense-edge capture enrol --token -

Exit status:
  0  enrolled, now or before        1  not enrolled: the token, the address or the host key is wrong
`

export const runHelp = `
Description:
  Runs until SIGTERM or SIGINT, and writes its log to standard output, a JSON object a line. A lost connection is made
  again by itself. A guest that is frozen for a backup is thawed within seconds, whatever becomes of the connection, the
  edge agent or this process. When the edge agent stays away for two minutes, or room beside the disks gets short while
  it is away, what its backups left is removed here. Run it as the user that runs the VMs, and under a service manager
  that starts it again; with systemd, KillMode=process and Restart=always.

Files:
  STATE-DIR/run/            sockets, and which guests may be frozen now; made anew at each start.

Examples:
  sendense-edge capture run --kvm-root /srv/vms --kvm-runtime-dir /run/vms
  sendense-edge capture run --kvm-root /srv/vms --kvm-runtime-dir /run/vms --tunnels 4 --log-level warn

Exit status:
  0  ended by SIGTERM or SIGINT        1  could not begin, or did not end in order
`

export const statusHelp = `
Description:
  Asks the capture agent that runs with this state directory. Needs neither the edge agent nor the cloud.

Examples:
  sendense-edge capture status
  sendense-edge capture status --json | jq -r .running.tunnel.state

Exit status:
  0  runs and is connected        3  does not run
  1  is not enrolled, or failed   4  runs, but no tunnel stands
`
