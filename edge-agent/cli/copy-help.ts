/** What `copy --help` says beyond its options. */
export const COPY_HELP = `
What is copied
  SRC and DST are NBD exports: nbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH, or nbds:// and nbds+unix://
  for the same over TLS. DST may be null: to only read. DST must be at least as large as SRC; what lies beyond is left
  alone. Nobody may write SRC meanwhile: export a snapshot, not a disk in use.
  What SRC knows to be zeros is not read, and written as zeros (WRITE_ZEROES). With --target-is-zero nothing at all is
  written there: say so only of a new, empty disk. With --dirty-bitmap only what the bitmap says is copied.

How fast
  As fast as both ends can; --rate keeps the reads to a rate. Buffers take 16 MiB at most. Up to 4 connections are made
  to each side where its server says that several are safe. One that is lost over TCP is made again.
  A read that fails is tried again four times with growing delays; then the copy fails and names the range.

Going on after an end
  With --checkpoint the place up to which DST holds everything durably is kept in FILE, every GiB and when it is
  cancelled. The same command goes on from there, also after kill -9 or a power cut. FILE is deleted at the end.
  It tells the copy by its arguments, SRC's size included; it cannot tell whether SRC has other content by then.
  When DST was cut off and may have lost what was not flushed, the copy goes back to its last checkpoint by itself.

Output
  At a terminal one line that changes; then one line at the end. With --json each line is an object with the key
  "event": resuming, progress (every second), checkpoint (it is in FILE), checkpoint-failed, read-retried, rewound, done,
  cancelled. Errors go to standard error as code, message and advice.

Signals
  Ctrl-C or SIGTERM: what is under way is finished and flushed (5 s at most), then the program ends.
  A second one ends it at once.

Exit status
  0    DST holds all of SRC, flushed
  1    something is wrong: code, what happened, and what to do are on standard error
  130  cancelled by a signal

Examples
  Copy a disk, slowly, over night, whatever happens:
    $ sendense-edge copy nbd://san.example/vm1 'nbd+unix:///?socket=/run/new.sock' \\
        --rate 50M --checkpoint /var/tmp/vm1.checkpoint
  Copy a restore point into a new, empty image:
    $ qemu-img create -f qcow2 disk.qcow2 40G
    $ qemu-nbd --fork --persistent --format qcow2 --socket /run/disk.sock disk.qcow2
    $ sendense-edge copy 'nbd+unix:///disk0?socket=/run/rp.sock' 'nbd+unix:///?socket=/run/disk.sock' --target-is-zero
  Find out how fast a disk can be read:
    $ sendense-edge copy nbd://san.example/vm1 null:
`
