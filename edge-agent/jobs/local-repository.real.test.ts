import { randomUUID } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { generateSigningKey } from '@sendense/shared/runtime/signing.ts'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createMemoryDisk } from '../block/memory-disk.ts'
import { backUp } from '../repository/repository-scenario.ts'
import { type LocalRepositoryOptions, prepareLocalRepository } from './local-repository.ts'

const call = { signal: AbortSignal.timeout(60_000) }
let root: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'sd-local-'))
})
afterEach(async () => await rm(root, { recursive: true, force: true }))

test('a repository that is made encrypted is so at every start, and cannot be taken for another', async () => {
  const options: LocalRepositoryOptions = {
    dir: join(root, 'repository'),
    name: 'local',
    encryption: 'luks',
    stateDir: join(root, 'state'),
    runtimeDir: join(root, 'run'),
    signingKey: generateSigningKey(),
    newId: randomUUID,
    clock: systemClock,
    logger: createLogger('test', 'silent'),
  }
  const entry = await prepareLocalRepository(options)
  {
    await using repository = await entry.open(call)
    const source = createMemoryDisk({ sizeBytes: 65_536 })
    const disk = { diskId: 'disk0', sizeBytes: 65_536, mode: 'full', source } as const
    await backUp(repository, { vmId: randomUUID(), disks: [disk] }, call)
  }
  expect(await readFile(join(options.dir, 'repo.json'), 'utf8')).toContain('luks-aes-256-xts')
  const again = await prepareLocalRepository(options)
  expect(again.record).toEqual(entry.record)
  await using repository = await again.open(call)
  expect(await Array.fromAsync(repository.listRestorePoints({}, call))).toHaveLength(1)
  const plain = prepareLocalRepository({ ...options, encryption: 'none' })
  await expect(plain).rejects.toMatchObject({ code: 'config.invalid' })
})
