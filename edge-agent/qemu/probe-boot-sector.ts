const SECTOR_BYTES = 512
/** SeaBIOS wants at least a cylinder before it takes a disk for one. */
const DISK_BYTES = 1024 * 1024

/** Port of QEMU's `isa-debug-exit`: a written value `v` ends QEMU with exit status `v * 2 + 1`. */
export const PROBE_EXIT_PORT = 0xf4
export const PROBE_EXIT_CODE = 0x2a * 2 + 1

/**
 * Real mode, page tables, long mode, one write to the exit port: what every guest of today does first, and what
 * a broken KVM cannot do although `/dev/kvm` opens (Intel SDM vol. 3, 10.8.5 "Initializing IA-32e Mode").
 */
const CODE = [
  'fa', // cli
  '31c0 8ed8 8ec0 8ed0 bc007c', // ds = es = ss = 0, sp = 0x7c00
  'bf0010 b90030 f3aa', // clear 0x1000…0x3fff
  '66c70600100320 0000', // PML4[0] = 0x2000, present, writable
  '66c70600200330 0000', // PDPT[0] = 0x3000
  '66c70600308300 0000', // PD[0] = 2 MiB page at 0
  '66b800100000 0f22d8', // cr3 = 0x1000
  '66b820000000 0f22e0', // cr4 = PAE
  '66b9800000c0 0f32 660d00010000 0f30', // EFER.LME
  '0f0116907c', // lgdt [0x7c90]
  '66b801000080 0f22c0', // cr0 = PG, PE
  'ea647c0800', // jmp 0x08:0x7c64
  '66b81000 8ed8 8ed0', // 64 bit from here: ds = ss = 0x10
  'b02a e6f4', // out 0xf4, 0x2a
  'f4 ebfd', // hlt for ever
  '0f1f440000', // padding
  '0000000000000000', // GDT: null
  'ffff0000009aaf00', // 0x08: 64-bit code
  'ffff00000092cf00', // 0x10: data
  '1700 787c0000', // GDT pseudo-descriptor
]

/** A raw disk whose boot sector reports, through the exit port, that a guest really runs. */
export function probeDisk(): Uint8Array {
  const disk = new Uint8Array(DISK_BYTES)
  disk.set(Buffer.from(CODE.join('').replaceAll(' ', ''), 'hex'))
  disk.set([0x55, 0xaa], SECTOR_BYTES - 2)
  return disk
}
