import assert from 'node:assert/strict'

export const SECTOR_BYTES = 512
/** Where the one partition starts; the boot loader lies in the gap before it. */
export const PARTITION_OFFSET_BYTES = 1024 * 1024

const BOOT_CODE_BYTES = 440
const PARTITION_TABLE_OFFSET = 446
const LINUX_PARTITION_TYPE = 0x83
const ACTIVE = 0x80
/** "No cylinder, head and sector": readers use the sector numbers instead. */
const CHS_UNUSED = [0xfe, 0xff, 0xff]
/** The block list that GRUB's first core sector ends with: start (u64), length (u16), segment (u16), little-endian. */
const BLOCK_LIST_OFFSET = SECTOR_BYTES - 12

/**
 * The first megabyte of a BIOS disk with one active Linux partition that reaches to the end: GRUB's boot sector with a
 * partition table, then its core image from sector 1 (grub/i386/pc/boot.h: GRUB_BOOT_MACHINE_KERNEL_SECTOR is 1 as built).
 *
 * @param bootImage GRUB's boot.img, one sector
 * @param coreImage what grub-mkimage wrote for i386-pc; its first sector loads the rest by a block list
 * @param diskBytes a whole number of sectors
 * @returns PARTITION_OFFSET_BYTES bytes
 */
export function buildBootArea(bootImage: Uint8Array, coreImage: Uint8Array, diskBytes: number): Uint8Array {
  assert.equal(bootImage.length, SECTOR_BYTES, 'boot.img is one sector')
  assert.equal(diskBytes % SECTOR_BYTES, 0, 'the disk is whole sectors')
  assert.ok(diskBytes > PARTITION_OFFSET_BYTES, 'the disk has room for a partition')
  assert.ok(SECTOR_BYTES + coreImage.length <= PARTITION_OFFSET_BYTES, 'the core image fits before the partition')

  const area = new Uint8Array(PARTITION_OFFSET_BYTES)
  const view = new DataView(area.buffer)
  area.set(bootImage.subarray(0, BOOT_CODE_BYTES), 0)

  const startSector = PARTITION_OFFSET_BYTES / SECTOR_BYTES
  area[PARTITION_TABLE_OFFSET] = ACTIVE
  area.set(CHS_UNUSED, PARTITION_TABLE_OFFSET + 1)
  area[PARTITION_TABLE_OFFSET + 4] = LINUX_PARTITION_TYPE
  area.set(CHS_UNUSED, PARTITION_TABLE_OFFSET + 5)
  view.setUint32(PARTITION_TABLE_OFFSET + 8, startSector, true)
  view.setUint32(PARTITION_TABLE_OFFSET + 12, diskBytes / SECTOR_BYTES - startSector, true)
  view.setUint16(SECTOR_BYTES - 2, 0xaa55, true)

  area.set(coreImage, SECTOR_BYTES)
  const blockList = SECTOR_BYTES + BLOCK_LIST_OFFSET
  view.setBigUint64(blockList, 2n, true) // the core image goes on in the sector after its first
  view.setUint16(blockList + 8, Math.ceil(coreImage.length / SECTOR_BYTES) - 1, true)
  return area
}
