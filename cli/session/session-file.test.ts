import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { deleteSession, findSession, type StoredSession, writeSession } from './session-file.ts'

let home = ''
let path = ''
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'sendense-cli-'))
  path = join(home, 'sendense', 'session.json')
})
afterEach(async () => await rm(home, { recursive: true }))

const session: StoredSession = {
  version: 1,
  url: 'https://portal.example',
  token: 'secret',
  email: 'owner@example.test',
  expiresAt: '2026-11-23T20:00:00.000Z',
}

test('what was written is found, also over an older one', async () => {
  await writeSession(path, { ...session, token: 'older' })
  await writeSession(path, session)
  expect(await findSession(path)).toEqual(session)
  expect(await readdir(dirname(path))).toEqual(['session.json'])
})

test('nobody but its owner may read it', async () => {
  await writeSession(path, session)
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  expect((await stat(dirname(path))).mode & 0o777).toBe(0o700)
})

test('none, one that is no JSON and one of another form are no session', async () => {
  expect(await findSession(path)).toBeUndefined()
  await writeSession(path, session)
  await writeFile(path, '{')
  expect(await findSession(path)).toBeUndefined()
  await writeFile(path, JSON.stringify({ ...session, version: 2 }))
  expect(await findSession(path)).toBeUndefined()
})

test('deleting is quiet where there is none', async () => {
  await writeSession(path, session)
  await deleteSession(path)
  await deleteSession(path)
  expect(await findSession(path)).toBeUndefined()
})
