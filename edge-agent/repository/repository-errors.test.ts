import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { expect, test } from 'vitest'
import { toRepositoryError, withRepositoryErrors } from './repository-errors.ts'

test.each([
  ['nbd.no_space', 'repository.no_space'],
  ['target.no_space', 'repository.no_space'],
  ['target.write_failed', 'repository.io_failed'],
  ['source.read_failed', 'repository.io_failed'],
  ['nbd.disconnected', 'repository.io_failed'],
  ['repository.chunk_corrupt', 'repository.chunk_corrupt'],
  ['input.invalid', 'input.invalid'],
  ['qemu.start_failed', 'qemu.start_failed'],
] as const)('%s of a repository’s disk is %s', (code, expected) => {
  const error = new PlatformError(code, 'words', { details: { offsetBytes: 7 } })
  expect(toRepositoryError(error, 'writing')).toMatchObject({ code: expected, details: { offsetBytes: 7 } })
})

test('qemu-img without space is repository.no_space, its other failures stay its own', () => {
  expect(toRepositoryError(failed(true), 'making')).toMatchObject({ code: 'repository.no_space' })
  expect(toRepositoryError(failed(false), 'making')).toMatchObject({ code: 'qemu.command_failed' })
})

test('an error of the system becomes a repository error that keeps it; what nobody knows stays as it is', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'sd-errors-'))
  const reading = withRepositoryErrors('reading it', async () => await readFile(dir))
  await expect(reading).rejects.toMatchObject({ code: 'repository.io_failed', details: { systemError: 'EISDIR' } })
  await rm(dir, { recursive: true })
  const full = Object.assign(new Error('ENOSPC: no space'), { code: 'ENOSPC', syscall: 'write' })
  expect(toRepositoryError(full, 'writing')).toMatchObject({ code: 'repository.no_space', cause: full })
  // As Node makes it of EDQUOT, for which libuv has no name.
  const unnamed = { errno: -122, code: 'Unknown system error -122', syscall: 'write' }
  const quota = Object.assign(new Error('Unknown system error -122'), unnamed)
  const expected = { code: 'repository.no_space', details: { systemError: 'EDQUOT' } }
  expect(toRepositoryError(quota, 'writing')).toMatchObject(expected)
  const reason = new Error('asked to stop')
  expect(toRepositoryError(reason, 'writing')).toBe(reason)
})

function failed(noSpace: boolean): PlatformError {
  return new PlatformError('qemu.command_failed', 'words', { details: { noSpace } })
}
