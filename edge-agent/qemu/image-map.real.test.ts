import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { zeroRangesOfRawFile } from './image-map.ts'

const MIB = 1024 * 1024
const signal = AbortSignal.timeout(60_000)

test('tells the holes of a raw file', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'image-map-'))
  try {
    const path = join(dir, 'a,b=c.raw')
    const file = await open(path, 'w')
    await file.truncate(4 * MIB)
    await file.write(Buffer.alloc(MIB, 1), 0, MIB, MIB)
    await file.close()
    expect(await zeroRangesOfRawFile(path, { signal })).toEqual([
      { offsetBytes: 0, lengthBytes: MIB },
      { offsetBytes: 2 * MIB, lengthBytes: 2 * MIB },
    ])
    await expect(zeroRangesOfRawFile(join(dir, 'none'), { signal })).rejects.toMatchObject({
      code: 'qemu.command_failed',
    })
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
})
