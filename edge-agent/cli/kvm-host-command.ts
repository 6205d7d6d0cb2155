import { randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { KvmHost, type KvmVm } from '../platforms/kvm/kvm-host.ts'
import { createDiskImage, type NewDiskImage } from '../platforms/kvm/new-disk-image.ts'
import { KvmDiskId, VmConfig, writeVmConfig } from '../platforms/kvm/vm-config.ts'
import { findVmProcess, startVmProcess, stopVmProcess } from '../platforms/kvm/vm-process.ts'
import type { Accelerator } from '../qemu/accelerator.ts'

interface HostOptions {
  readonly root: string
  readonly runtimeDir: string
  readonly json?: boolean
}

interface CreateOptions extends HostOptions {
  readonly name: string
  readonly memoryBytes: number
  readonly cpus: number
  readonly disk: readonly NewDiskImage[]
  readonly network: 'none' | 'user'
}

/**
 * Adds `kvm create|start|stop|list|delete`: the host tools of plain QEMU, which has no manager of its own. They need
 * neither agent nor cloud, and no QMP: the agent's connections are not disturbed.
 */
export function registerKvmHostCommands(program: Command): void {
  const kvm = program.command('kvm').description('VMs of a plain QEMU host: create, start, stop, list, delete')
  onHost(kvm.command('create'))
    .description('make a VM from copies of disk images')
    .requiredOption('--name <name>', 'its name and directory')
    .requiredOption('--memory-bytes <bytes>', 'memory of the guest', parseCount)
    .requiredOption('--cpus <count>', 'virtual CPUs', parseCount)
    .requiredOption(
      '--disk <id=source>',
      'repeat; a path (.qcow2, .raw or .img) or new:BYTES for an empty disk',
      collectDisk,
    )
    .addOption(new Option('--network <kind>', 'network of the guest').choices(['none', 'user']).default('none'))
    .action(createVm)
  onHost(kvm.command('start <name>'))
    .description('start a VM; does nothing to one that runs')
    .addOption(new Option('--accelerator <kind>', 'probed unless given').choices(['kvm', 'tcg']))
    .action(startVm)
  onHost(kvm.command('stop [name]'))
    .description('stop a VM, disks closed cleanly; does nothing to one that does not run')
    .option('--all', 'every VM of this host')
    .action(stopVms)
  onHost(kvm.command('delete <name>')).description('stop a VM and delete its disks').action(deleteVm)
  onHost(kvm.command('list')).description('list the VMs').action(listVms)
}

function onHost(command: Command): Command {
  return command
    .requiredOption('--root <dir>', 'directory of the VMs')
    .requiredOption('--runtime-dir <dir>', 'directory of the sockets; a short path')
    .option('--json', 'print JSON')
}

async function createVm(options: CreateOptions): Promise<void> {
  const { signal } = new AbortController()
  const host = new KvmHost({ rootDir: options.root, runtimeDir: options.runtimeDir })
  const dir = await host.createDraft(randomUUID())
  try {
    const disks = []
    for (const image of options.disk) disks.push(await createDiskImage(dir, image, { signal }))
    const { name, memoryBytes, network } = options
    const vmId = randomUUID()
    const config = { version: 1, vmId, name, memoryBytes, cpuCount: options.cpus, disks, firmware: 'bios', network }
    const checked = parseConfig(config)
    await writeVmConfig(dir, checked)
    await print(await host.publishDraft(dir, checked), options)
  } catch (error) {
    await rm(dir, { recursive: true, force: true })
    throw error
  }
}

function parseConfig(config: unknown): VmConfig {
  const result = VmConfig.safeParse(config)
  if (result.success) return result.data
  const { path, message } = result.error.issues[0] ?? { path: [], message: 'invalid' }
  throw new PlatformError('input.invalid', `${path.join('.')}: ${message}`, { cause: result.error })
}

async function startVm(name: string, options: HostOptions & { accelerator?: Accelerator }): Promise<void> {
  const { signal } = new AbortController()
  const vm = await getVm(name, options)
  const { accelerator } = options
  await startVmProcess(vm, { signal, ...(accelerator === undefined ? {} : { accelerator }) })
  await print(vm, options)
}

async function stopVms(name: string | undefined, options: HostOptions & { all?: boolean }): Promise<void> {
  const { signal } = new AbortController()
  if ((name === undefined) === (options.all !== true)) {
    throw new PlatformError('input.invalid', 'kvm stop needs either a name or --all')
  }
  const host = new KvmHost({ rootDir: options.root, runtimeDir: options.runtimeDir })
  const vms = name === undefined ? await host.list() : [await getVm(name, options)]
  await Promise.all(vms.map(async (vm) => await stopVmProcess(vm, { signal })))
  for (const vm of vms) await print(vm, options)
}

async function deleteVm(name: string, options: HostOptions): Promise<void> {
  const { signal } = new AbortController()
  const host = new KvmHost({ rootDir: options.root, runtimeDir: options.runtimeDir })
  const vm = await getVm(name, options)
  await stopVmProcess(vm, { signal })
  await rm(await host.unpublish(vm), { recursive: true, force: true })
  await rm(vm.runtimeDir, { recursive: true, force: true })
}

async function listVms(options: HostOptions): Promise<void> {
  const host = new KvmHost({ rootDir: options.root, runtimeDir: options.runtimeDir })
  const vms = await Promise.all((await host.list()).map(describe))
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify(vms)}\n`)
    return
  }
  for (const vm of vms) process.stdout.write(`${sentence(vm)}\n`)
  const listed = new Set(vms.map((vm) => vm.name))
  for (const name of await host.names()) {
    if (!listed.has(name)) process.stderr.write(`${name}: its vm.json is missing or cannot be trusted\n`)
  }
}

async function getVm(name: string, options: HostOptions): Promise<KvmVm> {
  const vm = await new KvmHost({ rootDir: options.root, runtimeDir: options.runtimeDir }).findByName(name)
  if (vm === undefined) throw new PlatformError('source.vm_not_found', `there is no VM ${name} under ${options.root}`)
  return vm
}

async function describe(vm: KvmVm) {
  const pid = await findVmProcess(vm)
  const { dir, consoleLog, qmpSocket, guestAgentSocket, config } = vm
  return { ...config, running: pid !== undefined, pid: pid ?? null, dir, consoleLog, qmpSocket, guestAgentSocket }
}

async function print(vm: KvmVm, options: HostOptions): Promise<void> {
  const facts = await describe(vm)
  process.stdout.write(`${options.json === true ? JSON.stringify(facts) : sentence(facts)}\n`)
}

function sentence(vm: Awaited<ReturnType<typeof describe>>): string {
  const disks = vm.disks.map((disk) => disk.diskId).join(', ')
  return `${vm.name}  ${vm.running ? `runs as process ${vm.pid}` : 'stopped'}  ${vm.vmId}  disks ${disks}`
}

function parseCount(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('must be a whole number of at least 1')
  return value
}

function collectDisk(text: string, before: readonly NewDiskImage[] = []): NewDiskImage[] {
  const [diskId = '', ...rest] = text.split('=')
  const source = rest.join('=')
  if (!KvmDiskId.safeParse(diskId).success || source === '') {
    throw new InvalidArgumentError('must be ID=PATH or ID=new:BYTES; an id begins with a letter and has at most 31')
  }
  if (source.startsWith('new:')) return [...before, { diskId, sizeBytes: parseCount(source.slice('new:'.length)) }]
  const format = source.endsWith('.raw') || source.endsWith('.img') ? 'raw' : 'qcow2'
  return [...before, { diskId, from: { path: source, format } }]
}
