import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { probeDisk } from '../qemu/probe-boot-sector.ts'

const main = join(import.meta.dirname, 'main.ts')
const Facts = z.object({ name: z.string(), running: z.boolean(), pid: z.int().nullable(), disks: z.array(z.unknown()) })

async function openHost() {
  const dir = await mkdtemp(join(tmpdir(), 'sd-cli-'))
  const run = async (command: string, ...args: string[]) => {
    const host = ['--root', join(dir, 'vms'), '--runtime-dir', join(dir, 'run'), '--json']
    return await new Promise<{ exitCode: number; stdout: string; stderr: string }>((resolve) => {
      execFile(process.execPath, [main, 'kvm', command, ...host, ...args], (error, stdout, stderr) => {
        resolve({ exitCode: typeof error?.code === 'number' ? error.code : 0, stdout, stderr })
      })
    })
  }
  const dispose = async (): Promise<void> => {
    await run('stop', '--all')
    await rm(dir, { recursive: true, force: true })
  }
  return { dir, run, [Symbol.asyncDispose]: dispose }
}

test('creates, starts, lists, stops and deletes a VM; each can be said twice', async () => {
  await using host = await openHost()
  const image = join(host.dir, 'system.raw')
  await writeFile(image, probeDisk())
  const machine = ['--name', 'web', '--memory-bytes', '33554432', '--cpus', '1']
  const create = ['create', ...machine, '--disk', `disk0=${image}`, '--disk', 'disk1=new:1048576'] as const
  expect(Facts.parse(JSON.parse((await host.run(...create)).stdout))).toMatchObject({ name: 'web', running: false })

  const started = Facts.parse(JSON.parse((await host.run('start', 'web', '--accelerator', 'tcg')).stdout))
  expect(started).toMatchObject({ running: true })
  const again = Facts.parse(JSON.parse((await host.run('start', 'web', '--accelerator', 'tcg')).stdout))
  expect(again.pid).toBe(started.pid)
  expect(z.array(Facts).parse(JSON.parse((await host.run('list')).stdout))).toMatchObject([
    { name: 'web', running: true },
  ])

  for (let turn = 0; turn < 2; turn++) {
    expect(Facts.parse(JSON.parse((await host.run('stop', 'web')).stdout))).toMatchObject({ running: false })
  }
  expect((await host.run('delete', 'web')).exitCode).toBe(0)
  expect((await host.run('list')).stdout).toBe('[]\n')
})

test('mistakes are named, with a code', async () => {
  await using host = await openHost()
  const machine = ['--memory-bytes', '33554432', '--cpus', '1', '--disk', 'disk0=new:1048576']
  expect(await host.run('create', '--name', 'web', ...machine)).toMatchObject({ exitCode: 0 })
  const mistakes = [
    [['create', '--name', 'web', ...machine], 'target.vm_exists'],
    [['create', '--name', '../web', ...machine], 'input.invalid'],
    [['create', '--name', 'other', ...machine, '--disk', 'disk1=/nonexistent.qcow2'], 'qemu.command_failed'],
    [['start', 'nobody'], 'source.vm_not_found'],
    [['stop'], 'input.invalid'],
  ] as const
  for (const [[command, ...args], code] of mistakes) {
    const { exitCode, stderr } = await host.run(command, ...args)
    expect(stderr).toContain(code)
    expect(exitCode).toBe(1)
  }
  expect(z.array(Facts).parse(JSON.parse((await host.run('list')).stdout))).toHaveLength(1)
})
