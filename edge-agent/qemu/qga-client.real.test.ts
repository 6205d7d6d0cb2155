import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { QgaClient } from './qga-client.ts'

const options = { signal: AbortSignal.timeout(60_000) }
/** The agent runs on this machine: nothing here may freeze, change or stop it. */
const FORBIDDEN = 'guest-fsfreeze-freeze,guest-fsfreeze-freeze-list,guest-shutdown,guest-suspend-disk,guest-suspend-ram'

/** Debian's qemu-ga, on a unix socket instead of a virtio port. */
async function openAgent() {
  const dir = await mkdtemp(join(tmpdir(), 'sd-qga-'))
  const path = join(dir, 'qga.sock')
  const args = ['-m', 'unix-listen', '-p', path, '-t', dir, '-f', join(dir, 'pid'), '-b', FORBIDDEN]
  const agent = spawn('qemu-ga', args, { stdio: 'ignore' })
  await once(agent, 'spawn') // rejects where there is no such program
  const ended = new Promise((resolve) => agent.once('close', resolve))
  const dispose = async (): Promise<void> => {
    agent.kill()
    await ended
    await rm(dir, { recursive: true, force: true })
  }
  return { path, agent, [Symbol.asyncDispose]: dispose }
}

async function connect({ path }: { path: string; agent: ChildProcess }): Promise<QgaClient> {
  for (;;) {
    try {
      return await QgaClient.connect(path, options)
    } catch (error) {
      if (options.signal.aborted || !isPlatformError(error, 'qemu.disconnected')) throw error
      await delay(20)
    }
  }
}

test('asks a real agent who it is, and runs a program in its guest', async () => {
  await using server = await openAgent()
  await using agent = await connect(server)
  expect(await agent.hostName(options)).toBe(hostname())
  expect(await agent.osName(options)).toMatch(/\w/)
  expect(await agent.isFrozen(options)).toBe(false)
  const failing = await agent.run('/bin/sh', ['-c', 'printf out; printf err >&2; exit 3'], options)
  expect(failing).toEqual({ exitCode: 3, stdout: 'out', stderr: 'err' })
})

test('commands at once are answered in turn', async () => {
  await using server = await openAgent()
  await using agent = await connect(server)
  const answers = ['a', 'b', 'c'].map(async (text) => (await agent.run('/bin/echo', [text], options)).stdout)
  expect(await Promise.all(answers)).toEqual(['a\n', 'b\n', 'c\n'])
})

test('a refusal has its class, and the connection goes on', async () => {
  await using server = await openAgent()
  await using agent = await connect(server)
  await expect(agent.execute('guest-nonsense', {}, z.unknown(), options)).rejects.toMatchObject({
    code: 'qemu.command_failed',
    details: { class: 'CommandNotFound' },
  })
  expect(await agent.hostName(options)).toBe(hostname())
})

test('an agent that dies is qemu.disconnected', async () => {
  await using server = await openAgent()
  await using agent = await connect(server)
  server.agent.kill('SIGKILL')
  await expect(agent.run('/bin/sleep', ['60'], options)).rejects.toMatchObject({ code: 'qemu.disconnected' })
})
