import { randomUUID } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { mayBeAlive, ownMachine, ownProcessIdentity, ProcessIdentity } from './process-identity.ts'

const MACHINE_ID = '0123456789abcdef0123456789abcdef'
let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'sd-machine-'))
})
afterEach(async () => await rm(dir, { recursive: true, force: true }))

test('a dead process is dead whatever the machine is called now', async () => {
  const here = await machineWith(MACHINE_ID)
  const own = { ...(await ownProcessIdentity()), ...here }
  expect(await mayBeAlive({ ...own, host: 'old-name' }, here)).toBe(true)
  expect(await mayBeAlive({ ...own, host: 'old-name', bootId: randomUUID() }, here)).toBe(false)
})

test('another machine of the same name is another machine', async () => {
  const here = await machineWith(MACHINE_ID)
  const there = await machineWith(MACHINE_ID.replace('0', 'f'))
  const other = { ...(await ownProcessIdentity()), ...there, bootId: randomUUID() }
  expect(await mayBeAlive(other, here)).toBe(true)
})

test('an identity without a machine id is read, and judged by its host name', async () => {
  const here = await machineWith(MACHINE_ID)
  const { machineId: _, ...own } = await ownProcessIdentity()
  const old = ProcessIdentity.parse({ ...own, bootId: randomUUID() })
  expect(await mayBeAlive(old, here)).toBe(false)
  expect(await mayBeAlive({ ...old, host: 'elsewhere' }, here)).toBe(true)
})

test('the id of the machine is not told, and one that is not filled counts as none', async () => {
  expect((await machineWith(MACHINE_ID)).machineId).toMatch(/^[0-9a-f]{64}$/)
  for (const content of ['', 'uninitialized\n']) expect((await machineWith(content)).machineId).toBeUndefined()
  expect((await ownMachine(join(dir, 'missing'))).machineId).toBeUndefined()
})

async function machineWith(content: string) {
  const path = join(dir, randomUUID())
  await writeFile(path, content)
  return await ownMachine(path)
}
