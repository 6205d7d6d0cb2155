import { expect, test } from 'vitest'
import { buildBootArea, PARTITION_OFFSET_BYTES, SECTOR_BYTES } from './boot-sector.ts'

const bootImage = new Uint8Array(SECTOR_BYTES).fill(0xeb)
const diskBytes = 64 * 1024 * 1024

test('the partition is active and reaches from the first megabyte to the end of the disk', () => {
  const view = new DataView(buildBootArea(bootImage, new Uint8Array(700), diskBytes).buffer)
  expect(view.getUint8(446)).toBe(0x80)
  expect(view.getUint8(450)).toBe(0x83)
  const startSector = view.getUint32(454, true)
  expect(startSector * SECTOR_BYTES).toBe(PARTITION_OFFSET_BYTES)
  expect((startSector + view.getUint32(458, true)) * SECTOR_BYTES).toBe(diskBytes)
  expect([view.getUint8(510), view.getUint8(511)]).toEqual([0x55, 0xaa])
})

test('the boot code is kept and the disk signature and the table behind it are not overwritten by it', () => {
  const area = buildBootArea(bootImage, new Uint8Array(700), diskBytes)
  expect(area.subarray(0, 440)).toEqual(bootImage.subarray(0, 440))
  expect(area.subarray(440, 446)).toEqual(new Uint8Array(6))
})

test('the block list names every sector of the core image after its first', () => {
  const view = new DataView(buildBootArea(bootImage, new Uint8Array(5 * SECTOR_BYTES + 1).fill(7), diskBytes).buffer)
  expect(view.getBigUint64(SECTOR_BYTES + 500, true)).toBe(2n)
  expect(view.getUint16(SECTOR_BYTES + 508, true)).toBe(5)
})

test('a core image that would reach into the partition is refused', () => {
  const tooLong = new Uint8Array(PARTITION_OFFSET_BYTES - SECTOR_BYTES + 1)
  expect(() => buildBootArea(bootImage, tooLong, diskBytes)).toThrow('fits before the partition')
})
