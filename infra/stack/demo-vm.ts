import { mkdir, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { copyGuestDisks, ensureGuestImage } from '../guest/guest-image.ts'
import { runCommand } from '../processes/run-command.ts'
import { waitUntil } from '../processes/wait-until.ts'
import { checkoutDir, type StackPaths } from './stack-paths.ts'

const EDGE_CLI = path.join(checkoutDir, 'edge-agent/cli/main.ts')
const DEMO_VM = 'demo-linux'
const MEMORY_BYTES = 256 * 1024 * 1024
const BOOT_TIMEOUT_MS = 180_000
const READY_LINE = 'sendense-guest ready '

/** The virtual machine that the demo protects; a real one, which keeps changing its disk. */
export interface DemoVm {
  readonly name: string
  readonly directory: string
  /** What its guest wrote to the serial port. */
  readonly consoleLog: string
}

interface Options {
  readonly signal: AbortSignal
  readonly log: (line: string) => void
}

/** Makes the demo VM where there is none, starts it when it does not run, and waits until its guest says that it is up. */
export async function startDemoVm(paths: StackPaths, options: Options): Promise<DemoVm> {
  const directory = path.join(paths.kvmRoot, DEMO_VM)
  const vm = { name: DEMO_VM, directory, consoleLog: path.join(directory, 'console.log') }
  if ((await readText(path.join(directory, 'vm.json'))) === '') await createDemoVm(paths, options)
  if (await isRunning(directory)) return vm
  const before = await readText(vm.consoleLog)
  await runKvm(paths, ['start'], [DEMO_VM], options)
  options.log('waiting for its Linux to boot')
  await waitUntil(
    `the guest of ${DEMO_VM} to boot (console: ${vm.consoleLog})`,
    async () => await hasNewReadyLine(vm.consoleLog, before),
    { signal: options.signal, timeoutMs: BOOT_TIMEOUT_MS, pauseMs: 250 },
  )
  return vm
}

/** Stops every VM below this stack's directory, restored ones too, cleanly. */
export async function stopVms(paths: StackPaths, options: { signal: AbortSignal }): Promise<void> {
  await runKvm(paths, ['stop'], ['--all'], options)
}

async function createDemoVm(paths: StackPaths, options: Options): Promise<void> {
  const image = await ensureGuestImage(paths.cacheDir, options)
  const staging = path.join(paths.stateDir, 'demo-disks')
  await rm(staging, { recursive: true, force: true })
  await rm(path.join(paths.kvmRoot, DEMO_VM), { recursive: true, force: true })
  await mkdir(staging)
  const copies = await copyGuestDisks(image, staging)
  const shape = ['--name', DEMO_VM, '--memory-bytes', String(MEMORY_BYTES), '--cpus', '1']
  await runKvm(
    paths,
    ['create'],
    [...shape, '--disk', `disk0=${copies.disk0}`, '--disk', `disk1=${copies.disk1}`],
    options,
  )
  await rm(staging, { recursive: true, force: true })
}

async function runKvm(
  paths: StackPaths,
  verb: readonly string[],
  args: readonly string[],
  options: { signal: AbortSignal },
): Promise<void> {
  const place = ['--root', paths.kvmRoot, '--runtime-dir', paths.kvmRuntimeDir]
  await runCommand(process.execPath, [EDGE_CLI, 'kvm', ...verb, ...place, ...args], { ...options, cwd: checkoutDir })
}

/** Whether the pid beside the disks is a QEMU that has them open by this name. */
async function isRunning(directory: string): Promise<boolean> {
  const pid = Number((await readText(path.join(directory, 'qemu.pid'))).trim())
  if (!Number.isSafeInteger(pid) || pid <= 0) return false
  return (await readText(`/proc/${pid}/cmdline`)).includes(directory)
}

/** A ready line that was not there before; the log may go on or begin anew at each start. */
async function hasNewReadyLine(consoleLog: string, before: string): Promise<boolean> {
  const now = await readText(consoleLog)
  const added = now.startsWith(before) ? now.slice(before.length) : now
  return added.includes(READY_LINE)
}

async function readText(file: string): Promise<string> {
  return await readFile(file, 'utf8').catch(() => '')
}
