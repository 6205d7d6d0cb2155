/** What `serve --help` says beyond its options. */
export const SERVE_HELP = `
What is served
  FILE is a raw disk image or a block device. Its holes are known and not read. Nobody may change it meanwhile.
  A restore point is one of this agent's own repository (SENDENSE_EDGE_STATE_DIR, SENDENSE_EDGE_REPOSITORY_DIR and
  SENDENSE_EDGE_DATABASE_SOCKET as for the agent, which may run). Each disk is an export named by its id. Every chunk
  is checked against its id before a byte of it is served: a damaged one is a read error (EIO), never wrong data.

How to read it
  Any NBD client will do, over any number of connections: nbdcopy, nbdinfo, qemu-img, qemu-nbd, sendense-edge nbd.
  A sole export also answers to the empty name. Base allocation is offered, so sparse disks copy quickly.

Who may read it
  --unix  makes a socket with mode 0600: this user and root. It takes the place of a dead one, never of a live one.
  --tcp   on 127.0.0.1 lets in every user of this machine. Any other address needs --tls-client-ca.
  With TLS nothing is said before it is set up. Certificates are checked; there is no way to turn that off.

Output
  One line for each export and address, then one for each client that did not end in order. With --json the lines are
  objects with the key "event": export, serving (with "uri"), client-error, stopping. Errors go to standard error.

Signals
  Ctrl-C or SIGTERM: no new requests, those under way are finished (10 s at most), the socket is removed.
  A second one ends the program at once.

Exit status
  0    stopped by a signal, in order
  1    something is wrong: code, what happened, and what to do are on standard error
  130  stopped by a second signal

Examples
  Copy a disk out of a restore point:
    $ sendense-edge serve --restore-point 0198c2f4-… --unix /run/user/0/rp.sock
    $ nbdcopy 'nbd+unix:///disk0?socket=/run/user/0/rp.sock' disk0.raw
  Make a QCOW2 image of a raw one elsewhere:
    $ sendense-edge serve disk.raw --tcp 10809
    $ qemu-img convert -f raw -O qcow2 nbd://127.0.0.1/disk.raw disk.qcow2
  Serve it to another machine:
    $ sendense-edge serve disk.raw --tcp 0.0.0.0:10809 \\
        --tls-key key.pem --tls-certificate cert.pem --tls-client-ca ca.pem
    $ nbdinfo 'nbds://backup.example/?tls-certificates=/etc/pki/nbd'
`
