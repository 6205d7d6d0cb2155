/** What opens a repository, said once for all commands. */
const STORAGE_HELP = `
Where the repository is: <storage>
  /mnt/nas/backups                                            a directory, also a mount or a copy of one
  s3://BUCKET/PREFIX?endpoint=https://s3.example.net&region=eu-1
  azure://ACCOUNT/CONTAINER/PREFIX
  storage.json                                                a file with the same settings as JSON
  Keys of the storage: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN), AZURE_STORAGE_KEY or
  AZURE_STORAGE_SAS_TOKEN. The right to list and to read is enough; nothing is ever written there.

What opens it: one of
  --recovery-kit FILE     the printed sheet as text, its 14 groups, or the text of its code
  --passphrase-file FILE  the passphrase
  --private-key FILE      the key of an agent or of an escrow, PEM
  SENDENSE_RECOVERY_KIT or SENDENSE_PASSPHRASE in the environment; or it is asked for at the terminal.
`

const STATUS_HELP = `
Exit status
  0    all is as it should be
  1    something is wrong: code, what happened, and what to do are on standard error
  2    damage was found
  130  stopped by a signal
`

const POINT_HELP = `
Which restore point: <restore-point>
  Its id; the beginning of it, 8 characters or more; or the name of a VM, which means its newest.
`

/** What \`--help\` says beyond commands and options. */
export const PROGRAM_HELP = `
Reads Sendense repositories with nothing but the storage and the recovery kit (or the passphrase): no server, no
database, no agent. One file; any Node from 22.15 on runs it. It never writes to a repository.

Examples
  What is there?
    $ node sendense-restore.mjs list /mnt/nas/backups --recovery-kit kit.txt
  Can it be restored?
    $ node sendense-restore.mjs verify /mnt/nas/backups --recovery-kit kit.txt
  The newest disks of a VM, from S3:
    $ export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…
    $ node sendense-restore.mjs extract 's3://backups?endpoint=https://s3.example.net' web-1 \\
        --recovery-kit kit.txt --output-dir web-1
`

export const LIST_HELP = `${STORAGE_HELP}
Output
  A table; times are in the zone of this machine (TZ). A restore point whose manifest is damaged, or is signed by a key
  that the repository does not know, is listed with the reason and never hidden. With --json one object.
${STATUS_HELP}`

export const VERIFY_HELP = `${STORAGE_HELP}${POINT_HELP}
What is checked
  That the manifest is signed by an agent of this repository; that every file the restore point needs is there and can be
  opened; that every chunk, read in full, has the hash that was taken when it was read from the VM. What several restore
  points share is read once.

Output
  One line for each restore point, before it the byte ranges that are missing. With --json each line is an object with the
  key "event": progress, missing, file-missing, good, damaged, warning, done.
${STATUS_HELP}`

export const EXTRACT_HELP = `${STORAGE_HELP}${POINT_HELP}
What is written
  raw    a sparse file, or a block device with --force. Needs no other program for chunk repositories.
  qcow2  an image that qemu-img writes: it must be installed (package qemu-utils or qemu-img).
  Chains of QCOW2 files are read by qemu-storage-daemon, which must be installed then.
  An image has its name only once it is whole; until then it ends in .partial, and is removed when it fails.
  restore-point.json says what the VM was: CPUs, memory, its definition. No disk is changed to fit another hypervisor.

Damage
  A chunk that is missing or does not match its hash ends the extraction. With --skip-damaged it is written as zeros
  and listed, on the screen and in restore-point.json. A file system with holes in it wants fsck, and files in the listed
  ranges are gone: prefer an older restore point where there is one.

Output
  With --json each line is an object with the key "event": restore-point, progress, missing, extracted, warning, done.
${STATUS_HELP}
Examples
  One disk onto an empty device:
    $ node sendense-restore.mjs extract /mnt/nas/backups web-1 --recovery-kit kit.txt \\
        --disk vda --output /dev/sdx --force
  An image for QEMU:
    $ node sendense-restore.mjs extract /mnt/nas/backups web-1 --recovery-kit kit.txt --format qcow2 --output-dir web-1
`

export const SERVE_HELP = `${STORAGE_HELP}${POINT_HELP}
How to use it
  Each disk is an export named by its id. Every chunk is checked before a byte of it is given out: a damaged one is a
  read error (EIO), unless --skip-damaged makes it zeros. Any NBD client will do: qemu, qemu-img, nbdcopy, nbd-client.
  A VM runs from it at once over an overlay, which takes all that it writes.

Who may read it
  --unix  makes a socket with mode 0600: this user and root.
  --tcp   on 127.0.0.1 lets in every user of this machine. Any other address needs --tls-client-ca.

Signals
  Ctrl-C or SIGTERM: requests under way are finished (10 s at most), the socket is removed. A second one ends it at once.
${STATUS_HELP}
Examples
  Boot a VM from the backup:
    $ node sendense-restore.mjs serve /mnt/nas/backups web-1 --recovery-kit kit.txt --unix /run/rp.sock
    $ qemu-img create -f qcow2 -F raw -b 'nbd+unix:///vda?socket=/run/rp.sock' overlay.qcow2
    $ qemu-system-x86_64 -m 4G -accel kvm -drive file=overlay.qcow2,if=virtio
  Look at files:
    $ nbd-client -unix /run/rp.sock /dev/nbd0 -N vda -R && mount -o ro,noload /dev/nbd0p1 /mnt
`
