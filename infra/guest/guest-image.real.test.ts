import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, test } from 'vitest'
import * as z from 'zod'
import { runCommand } from '../processes/run-command.ts'
import { waitUntil } from '../processes/wait-until.ts'
import { checkoutDir } from '../stack/stack-paths.ts'
import { copyGuestDisks, ensureGuestImage } from './guest-image.ts'

const signal = AbortSignal.timeout(180_000)
let directory: string
let qemu: ChildProcess

beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'sendense-guest-'))
  const image = await ensureGuestImage(path.join(checkoutDir, '.sendense/cache'), { signal })
  await copyGuestDisks(image, directory)
  qemu = startQemu()
  await bootLine(1)
}, 120_000)

afterAll(async () => {
  await stop()
  await rm(directory, { recursive: true, force: true })
})

test('the guest agent answers and freezes and thaws the file system', async () => {
  await using agent = await openAgent()
  expect(await agent.call('guest-fsfreeze-freeze')).toBe(1)
  expect(await agent.call('guest-fsfreeze-status')).toBe('frozen')
  expect(await agent.call('guest-fsfreeze-thaw')).toBe(1)
})

test('the workload changes the disk, rests when it is asked to, and goes on', async () => {
  await using agent = await openAgent()
  const log = 'wc -c </var/lib/workload/log'
  await waitUntil('the workload to write', async () => Number(await agent.shell(log)) > 0, {
    signal,
    timeoutMs: 60_000,
  })
  await agent.shell('touch /run/workload-stop; until [ -e /run/workload-stopped ]; do sleep 1; done')
  const resting = Number(await agent.shell(log))
  expect(Number(await agent.shell(`sync; sleep 3; ${log}`))).toBe(resting)
  await agent.shell('rm /run/workload-stop')
  const goesOn = async (): Promise<boolean> => Number(await agent.shell(log)) > resting
  await waitUntil('the workload to go on', goesOn, { signal, timeoutMs: 60_000 })
})

test('the second disk takes writes, zeroing and trims', async () => {
  await using agent = await openAgent()
  await agent.shell('dd if=/dev/urandom of=/dev/vdb bs=64k count=4 conv=fsync')
  await agent.shell(
    '/usr/sbin/blkdiscard -z -o 65536 -l 65536 /dev/vdb && /usr/sbin/blkdiscard -o 131072 -l 65536 /dev/vdb',
  )
  expect(await agent.shell('dd if=/dev/vdb bs=64k skip=1 count=2 | tr -d "\\0" | wc -c')).toBe('0')
  expect(Number(await agent.shell('dd if=/dev/vdb bs=64k count=1 | tr -d "\\0" | wc -c'))).toBeGreaterThan(60_000)
})

test('it shuts down cleanly when the guest agent asks, and boots again from its own disk', async () => {
  {
    await using agent = await openAgent()
    agent.send('guest-shutdown')
  }
  if (qemu.exitCode === null) await once(qemu, 'exit')
  const check = await runCommand('qemu-img', ['check', path.join(directory, 'disk0.qcow2')], { signal })
  expect(check).toContain('No errors')
  qemu = startQemu()
  await bootLine(2)
})

function startQemu(): ChildProcess {
  const disk = (index: number): string[] => [
    '-blockdev',
    `driver=qcow2,node-name=disk${index},discard=unmap,file.driver=file,file.filename=${directory}/disk${index}.qcow2`,
    '-device',
    `virtio-blk-pci,drive=disk${index}`,
  ]
  const machine = ['-accel', 'tcg,thread=multi', '-cpu', 'max', '-m', '256', '-nodefaults', '-display', 'none']
  const port = ['-device', 'virtio-serial-pci', '-device', 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0']
  const sockets = ['-chardev', `socket,id=agent,path=${directory}/qga.sock,server=on,wait=off`]
  const serial = ['-chardev', `file,id=serial,path=${directory}/console.log`, '-serial', 'chardev:serial']
  return spawn('qemu-system-x86_64', [...machine, ...disk(0), ...disk(1), ...sockets, ...port, ...serial], {
    stdio: 'inherit',
  })
}

async function stop(): Promise<void> {
  if (qemu.exitCode !== null || qemu.signalCode !== null) return
  qemu.kill('SIGKILL')
  await once(qemu, 'exit')
}

async function bootLine(count: number): Promise<void> {
  const line = `sendense-guest ready sendense-guest boot ${count}`
  const console = path.join(directory, 'console.log')
  const said = async (): Promise<boolean> => (await readFile(console, 'utf8')).includes(line)
  await waitUntil(`"${line}"`, said, { signal, timeoutMs: 90_000 })
}

const ExecStatus = z.object({
  'exited': z.boolean(),
  'exitcode': z.int().optional(),
  'out-data': z.string().optional(),
})

interface Agent extends AsyncDisposable {
  send(command: string, input?: object): void
  call(command: string, input?: object): Promise<unknown>
  /** Standard output without the last line end; rejects when the exit code is not 0. */
  shell(script: string): Promise<string>
}

/** JSON lines over the agent's socket (QEMU Guest Agent Protocol Reference). */
async function openAgent(): Promise<Agent> {
  const socket = connect(path.join(directory, 'qga.sock'))
  await once(socket, 'connect')
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]()
  const send = (command: string, input: object = {}): void =>
    void socket.write(`${JSON.stringify({ execute: command, arguments: input })}\n`)
  async function call(command: string, input?: object): Promise<unknown> {
    send(command, input)
    const line = await lines.next()
    return z.object({ return: z.unknown() }).parse(JSON.parse(String(line.value))).return
  }
  async function shell(script: string): Promise<string> {
    const args = { 'path': '/bin/sh', 'arg': ['-c', `export PATH=/bin; ${script}`], 'capture-output': true }
    const { pid } = z.object({ pid: z.int() }).parse(await call('guest-exec', args))
    const ended = async (): Promise<z.infer<typeof ExecStatus> | undefined> => {
      const status = ExecStatus.parse(await call('guest-exec-status', { pid }))
      return status.exited ? status : undefined
    }
    const status = await waitUntil(`the guest to run: ${script}`, ended, { signal, timeoutMs: 60_000 })
    expect({ script, exitCode: status.exitcode }).toEqual({ script, exitCode: 0 })
    return Buffer.from(status['out-data'] ?? '', 'base64')
      .toString('utf8')
      .trimEnd()
  }
  const id = 1 + Math.floor(performance.now())
  expect(await call('guest-sync', { id })).toBe(id)
  return { send, call, shell, [Symbol.asyncDispose]: async () => void socket.destroy() }
}
