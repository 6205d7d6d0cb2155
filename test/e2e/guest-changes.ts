/** What one step does to the guest's disks before its backup: disk0 is the ext4 root, disk1 is /dev/vdb, used raw. */
export interface GuestChange {
  /** Completes "restore point after …". */
  readonly name: string
  readonly script: string
  readonly quiesce: boolean
  /** Most that has changed on disk1 then, in whole 64 KiB blocks. */
  readonly disk1BytesMax: number
}

export const BLOCK_BYTES = 64 * 1024
const MIB = 1024 * 1024

/** Zeroed by the third step, which finds random data there: it must come back as zeros. */
export const zeroedRange = { offsetBytes: 4 * MIB, lengthBytes: 6 * MIB }
/** Discarded by the fourth step. */
export const trimmedRange = { offsetBytes: 20 * MIB, lengthBytes: 5 * MIB }

const random = (lengthBytes: number, offsetBytes: number): string =>
  `dd if=/dev/urandom of=/dev/vdb bs=4k count=${lengthBytes / 4096} seek=${offsetBytes / 4096} conv=notrunc 2>/dev/null`

/** A full backup and six increments, over everything a guest can do to a disk. */
export const guestChanges: readonly GuestChange[] = [
  {
    name: 'a first filling',
    script: `${random(32 * MIB, 0)}
      mkdir -p /var/lib/e2e; for i in 0 1 2 3 4 5; do dd if=/dev/urandom of=/var/lib/e2e/file-$i bs=64k count=16 2>/dev/null; done`,
    quiesce: true,
    disk1BytesMax: 32 * MIB,
  },
  {
    name: 'small and unaligned writes',
    script: `for i in 1 3 9 40 41 42 511; do ${random(4096, 0).replace('seek=0', 'seek=$((i * 17))')}; done
      ${random(12_288, 200 * MIB + 4096)}
      echo changed >/var/lib/e2e/file-1; mv /var/lib/e2e/file-2 /var/lib/e2e/moved`,
    quiesce: false,
    disk1BytesMax: 9 * BLOCK_BYTES,
  },
  {
    name: 'zeroing by the device',
    script: `/usr/sbin/blkdiscard -z -o ${zeroedRange.offsetBytes} -l ${zeroedRange.lengthBytes} /dev/vdb`,
    quiesce: true,
    disk1BytesMax: zeroedRange.lengthBytes,
  },
  {
    name: 'trims by device and file system',
    script: `/usr/sbin/blkdiscard -o ${trimmedRange.offsetBytes} -l ${trimmedRange.lengthBytes} /dev/vdb
      rm /var/lib/e2e/file-3; sync; fstrim /`,
    quiesce: false,
    disk1BytesMax: trimmedRange.lengthBytes,
  },
  {
    name: 'zeros written as data, and writes over what was trimmed',
    script: `dd if=/dev/zero of=/dev/vdb bs=64k seek=200 count=24 conv=notrunc 2>/dev/null
      ${random(MIB, trimmedRange.offsetBytes + MIB)}
      ${random(BLOCK_BYTES, zeroedRange.offsetBytes)}`,
    quiesce: true,
    disk1BytesMax: 24 * BLOCK_BYTES + MIB + BLOCK_BYTES,
  },
  { name: 'nothing at all on disk1', script: 'touch /var/lib/e2e/touched', quiesce: false, disk1BytesMax: 0 },
  {
    name: 'zeroing, writing and trimming the same ranges',
    script: `/usr/sbin/blkdiscard -z -o ${40 * MIB} -l ${4 * MIB} /dev/vdb
      ${random(2 * MIB, 41 * MIB)}
      /usr/sbin/blkdiscard -o ${42 * MIB} -l ${MIB} /dev/vdb
      ${random(8192, 255 * MIB)}; cp /var/lib/e2e/file-0 /var/lib/e2e/copy`,
    quiesce: true,
    disk1BytesMax: 4 * MIB + BLOCK_BYTES,
  },
]
