import { mkdir, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { findVmProcess } from '@sendense/edge-agent/platforms/kvm/vm-process.ts'
import { findFreePort } from '@sendense/infra/processes/free-port.ts'
import { runCommand } from '@sendense/infra/processes/run-command.ts'
import { waitUntil } from '@sendense/infra/processes/wait-until.ts'
import { checkoutDir } from '@sendense/infra/stack/stack-paths.ts'
import { JobDetailView, type RestorePointView } from '@sendense/shared/contracts/api/protection-api.ts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { CaptureMachine } from '../harness/capture-machine.ts'
import { convertToRaw, copyDisks, diskFile, expectSameContent, readRange } from '../harness/disk-images.ts'
import { GuestShell } from '../harness/guest-shell.ts'
import { SendenseCommand } from '../harness/sendense-command.ts'
import { openTestStack, type TestStack, waitForVm } from '../harness/test-stack.ts'
import { BLOCK_BYTES, guestChanges, trimmedRange, zeroedRange } from './guest-changes.ts'

const PARTITION_OFFSET_BYTES = 1024 * 1024
const MIB = 1024 * 1024

let product: TestStack
let sendense: SendenseCommand
beforeAll(async () => {
  process.env['SENDENSE_EDGE_TUNNEL_PORT'] = String(await findFreePort())
  product = await openTestStack({ name: 'main-job' })
  sendense = new SendenseCommand({ homeDir: product.scratchDir, url: product.stack.portalUrl })
  const { ownerEmail, ownerPassword } = product.stack
  const { exitCode, stderr } = await sendense.run(['login', '--email', ownerEmail, '--password-stdin'], {
    input: `${ownerPassword}\n`,
  })
  if (exitCode !== 0) throw new Error(`cannot log in: ${stderr}`)
})
afterAll(async () => await product?.[Symbol.asyncDispose]())

interface TakenPoint {
  readonly point: RestorePointView
  /** Raw copies of the source's disks at the instant, by disk id. */
  readonly copies: ReadonlyMap<string, string>
}
const taken: TakenPoint[] = []

function takenAt(index: number): TakenPoint {
  const found = taken[index]
  if (found === undefined) throw new Error(`backup ${index} has failed`)
  return found
}

/** Disk1 as restored from the point of that index. */
async function rawDisk1(index: number): Promise<string> {
  const vm = await product.findHostVm(`same-${index}`)
  return await convertToRaw(diskFile(vm, 'disk1'), path.join(product.scratchDir, 'disk1.raw'))
}

function within(timeoutMs: number) {
  return { signal: AbortSignal.timeout(timeoutMs), timeoutMs, pauseMs: 500 }
}

/** Runs the client with --json; rejects unless it ends with 0. */
async function json<T>(schema: z.ZodType<T>, ...args: string[]): Promise<T> {
  const { exitCode, stdout, stderr } = await sendense.run([...args, '--json'])
  if (exitCode !== 0) throw new Error(`${args.join(' ')}: exit code ${exitCode}: ${stdout}${stderr}`)
  return schema.parse(JSON.parse(stdout))
}

async function backUp(...options: string[]): Promise<RestorePointView> {
  const job = await json(JobDetailView, 'backup', product.vm.name, '--wait', ...options)
  return await product.owner.restorePointOf(job)
}

async function restoreStopped(restorePointId: string, name: string) {
  const job = await json(JobDetailView, 'restore', restorePointId, '--name', name, '--no-start', '--wait')
  expect(job.result).toMatchObject({ kind: 'restore', vmName: name })
  return await product.findHostVm(name)
}

function diskFacts(point: RestorePointView, diskId: string) {
  const facts = point.disks.find((disk) => disk.diskId === diskId)
  if (facts === undefined) throw new Error(`the restore point has no ${diskId}`)
  return facts
}

describe('a guest at rest: each restore point is the source at its instant, byte for byte', () => {
  beforeAll(async () => await product.guest.restWorkload())

  test.each(guestChanges.map((change, index) => ({ ...change, index })))(
    'backup $index, after $name',
    async ({ script, quiesce, index, disk1BytesMax }) => {
      const { guest, host, scratchDir } = product
      await guest.run(script)
      await guest.readOnly()
      const directory = path.join(scratchDir, `point-${index}`)
      await mkdir(directory)
      const copies = await copyDisks(host, directory)
      const point = await backUp(...(quiesce ? [] : ['--no-quiesce']))
      // The oracle itself: nothing moved while the backup ran.
      for (const [diskId, copy] of copies) await expectSameContent(copy, diskFile(host, diskId))
      await guest.writable()
      taken.push({ point, copies })

      expect(point.consistency).toBe(quiesce ? 'filesystem' : 'crash')
      const reason = index === 0 ? 'FULL_FIRST' : 'INCREMENTAL'
      expect(point.disks.map((disk) => disk.reason)).toEqual([reason, reason])
      expect(point.parentRestorePointId).toBe(taken[index - 1]?.point.restorePointId ?? null)
      expect(diskFacts(point, 'disk1').readBytes).toBeLessThanOrEqual(disk1BytesMax)
    },
  )

  test.each(guestChanges.map(({ name }, index) => ({ name, index })))(
    'restore $index, after $name, equals the source then',
    async ({ index }) => {
      const { point, copies } = takenAt(index)
      const vm = await restoreStopped(point.restorePointId, `same-${index}`)
      expect(vm.config.disks.map((disk) => disk.diskId)).toEqual(['disk0', 'disk1'])
      expect(await findVmProcess(vm)).toBeUndefined()
      for (const [diskId, copy] of copies) await expectSameContent(copy, diskFile(vm, diskId))
    },
  )

  test('ranges that were zeroed or trimmed come back as zeros, and before that as their data', async () => {
    for (const [range, changedIn] of [
      [zeroedRange, 2],
      [trimmedRange, 3],
    ] as const) {
      const before = await readRange(await rawDisk1(changedIn - 1), range.offsetBytes, range.lengthBytes)
      expect(before.includes(Buffer.alloc(4096))).toBe(false)
      const after = await readRange(await rawDisk1(changedIn), range.offsetBytes, range.lengthBytes)
      expect(after.equals(Buffer.alloc(range.lengthBytes))).toBe(true)
    }
  })

  test('an incremental after 1 % of the disks has changed reads about 1 %', async () => {
    const { guest, vm } = product
    const sizeBytes = vm.disks.reduce((sum, disk) => sum + disk.sizeBytes, 0)
    const blocks = Math.floor(sizeBytes / 100 / BLOCK_BYTES)
    // Each block alone, so that nothing is saved by neighbours.
    await guest.readOnly()
    await guest.run(`i=0; while [ $i -lt ${blocks} ]; do
      dd if=/dev/urandom of=/dev/vdb bs=64k count=1 seek=$((i * 30)) conv=notrunc 2>/dev/null; i=$((i + 1)); done; sync`)
    const point = await backUp()
    await guest.writable()
    expect(diskFacts(point, 'disk1')).toMatchObject({ mode: 'incremental', readBytes: blocks * BLOCK_BYTES })
    const readBytes = point.disks.reduce((sum, disk) => sum + disk.readBytes, 0)
    expect(readBytes).toBeLessThan(sizeBytes * 0.015)
  })
})

describe('a guest that goes on writing', () => {
  const WRITER_OFFSET_BLOCKS = 1024
  let point: RestorePointView
  let writtenAtEnd = 0
  let checksums = ''

  test('is backed up at one instant while it runs', async () => {
    const { guest } = product
    await guest.resumeWorkload()
    await guest.run(`/usr/sbin/blkdiscard -z -o ${WRITER_OFFSET_BLOCKS * BLOCK_BYTES} /dev/vdb`)
    checksums = await guest.checksum('/var/lib/e2e /etc')
    await guest.start(`i=1; while [ $i -lt 3000 ] && ! [ -e /run/writer-stop ]; do
      printf "block %08d" $i | dd of=/dev/vdb bs=64k seek=$((${WRITER_OFFSET_BLOCKS} + i)) conv=notrunc,fsync 2>/dev/null
      echo $i >/run/written.new; mv /run/written.new /run/written; i=$((i + 1)); done`)
    const written = async () => Number(await guest.run('cat /run/written 2>/dev/null || echo 0'))
    await waitUntil('the guest to write', async () => (await written()) > 5, within(30_000))
    point = await backUp()
    writtenAtEnd = await written()
    await waitUntil('the guest to write on', async () => (await written()) > writtenAtEnd, within(30_000))
    await guest.run('touch /run/writer-stop')
    expect(point.consistency).toBe('filesystem')
  })

  test('holds exactly what was written up to that instant', async () => {
    const vm = await restoreStopped(point.restorePointId, 'instant')
    const raw = await convertToRaw(diskFile(vm, 'disk1'), path.join(product.scratchDir, 'instant.raw'))
    const head = async (block: number) =>
      (await readRange(raw, (WRITER_OFFSET_BLOCKS + block) * BLOCK_BYTES, 14)).toString('latin1')
    let last = 0
    while ((await head(last + 1)) === `block ${String(last + 1).padStart(8, '0')}`) last += 1
    expect(last).toBeGreaterThan(4)
    expect(last).toBeLessThanOrEqual(writtenAtEnd + 1)
    for (let block = last + 1; block < 3000; block += 1) expect(await head(block)).toBe('\0'.repeat(14))
    await rm(raw)
  })

  test('has a file system that is clean without replaying its journal', async () => {
    const vm = await product.findHostVm('instant')
    const raw = await convertToRaw(diskFile(vm, 'disk0'), path.join(product.scratchDir, 'root.raw'))
    const fileSystem = `${raw}?offset=${PARTITION_OFFSET_BYTES}`
    // ext4 takes this flag away while it is frozen, and e2fsck passes over a journal that it may not replay.
    const features = await runCommand('dumpe2fs', ['-h', fileSystem], within(60_000))
    expect(features).toMatch(/^Filesystem features:.* has_journal/m)
    expect(features).not.toContain('needs_recovery')
    await runCommand('e2fsck', ['-f', '-n', fileSystem], within(60_000))
    await rm(raw)
  })

  test('is proven by verify, and the proof is kept with the point', async () => {
    const job = await json(JobDetailView, 'verify', point.restorePointId, '--wait')
    expect(job.result).toMatchObject({ kind: 'verify', restorePointId: point.restorePointId })
    const { lastVerification } = await product.owner.api.restorePoint.get.query({
      restorePointId: point.restorePointId,
    })
    expect(lastVerification).toMatchObject({ outcome: 'passed' })
  })

  test('comes back as a new VM that boots from its own disk, beside the original', async () => {
    const { guest, host } = product
    const job = await json(JobDetailView, 'restore', 'latest', '--vm', product.vm.name, '--name', 'boots', '--wait')
    expect(job.result).toMatchObject({
      kind: 'restore',
      bootProof: { evidence: expect.stringMatching(/sendense-guest/) as string },
    })

    const vm = await product.findHostVm('boots')
    const restored = new GuestShell(vm.guestAgentSocket)
    const pid = await findVmProcess(vm)
    const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8')
    expect(commandLine).toContain(diskFile(vm, 'disk0'))
    expect(commandLine).not.toContain(host.dir)

    expect(await restored.checksum('/var/lib/e2e /etc')).toBe(checksums)
    const bootCount = 'cat /var/lib/sendense/boot-count'
    expect(Number(await restored.run(bootCount))).toBe(Number(await guest.run(bootCount)) + 1)
    await restored.run('echo here >/var/lib/only-here; sync')
    expect(await guest.run('ls /var/lib')).not.toContain('only-here')
    const view = await waitForVm(product.owner.api, 'boots', ({ powerState }) => powerState === 'running')
    expect(view.restoredFrom).toEqual({ restorePointId: point.restorePointId, jobId: job.jobId })
  })

  test('the original ran on through all of it', async () => {
    const { guest, host } = product
    expect(await guest.run('cat /var/lib/sendense/boot-count')).toBe('1')
    expect(await findVmProcess(host)).toBeTypeOf('number')
    const log = await guest.run('wc -l </var/lib/workload/log')
    await waitUntil(
      'the workload to go on',
      async () => (await guest.run('wc -l </var/lib/workload/log')) !== log,
      within(30_000),
    )
    expect(product.vm.disks.map((disk) => disk.sizeBytes)).toEqual([512 * MIB, 256 * MIB])
  })
})

describe('a KVM host elsewhere, behind a tunnel', () => {
  const SIZE_BYTES = 16 * MIB
  let machine: CaptureMachine
  afterAll(async () => await machine?.[Symbol.asyncDispose]())

  /** Writes as a guest does, past the product. */
  async function write(pattern: number, offsetBytes: number): Promise<void> {
    await machine.kvm('stop', 'elsewhere')
    const file = diskFile(await machine.findVm('elsewhere'), 'disk0')
    await runCommand('qemu-io', ['-f', 'qcow2', '-c', `write -P ${pattern} ${offsetBytes} 1M`, file], within(20_000))
    await machine.kvm('start', 'elsewhere', '--accelerator', 'tcg')
  }

  test('is let in by a token, and its VMs are listed with their host', async () => {
    machine = await CaptureMachine.open()
    const { env } = product.process('agent').spec
    const port = env?.['SENDENSE_EDGE_TUNNEL_PORT'] ?? ''
    const cli = path.join(checkoutDir, 'edge-agent/cli/main.ts')
    const create = [
      'capture-token',
      'create',
      '--name',
      'rack-7',
      '--address',
      `${machine.network.hereAddress}:${port}`,
    ]
    const token = await runCommand(process.execPath, [cli, ...create], { ...within(30_000), ...(env && { env }) })
    const shape = ['--memory-bytes', String(32 * MIB), '--cpus', '1', '--disk', `disk0=new:${SIZE_BYTES}`]
    await machine.kvm('create', '--name', 'elsewhere', ...shape)
    await write(1, 0)
    await machine.capture('enrol', '--token', token.trim())
    await machine.startCapture()
    const vm = await waitForVm(product.owner.api, 'elsewhere', ({ powerState }) => powerState === 'running')
    expect(vm).toMatchObject({ hostName: 'rack-7', platform: 'kvm' })
    expect((await sendense.run(['vms'])).stdout).toMatch(/elsewhere .* rack-7 /)
  })

  test('is backed up, first in full and then what changed, and gets its VMs back, byte for byte', async () => {
    for (const [index, reason] of ['FULL_FIRST', 'INCREMENTAL'].entries()) {
      if (index > 0) await write(2, 4 * MIB)
      const job = await json(JobDetailView, 'backup', 'elsewhere', '--wait')
      const point = await product.owner.restorePointOf(job)
      expect(diskFacts(point, 'disk0')).toMatchObject({ reason, readBytes: MIB })
      const name = `again-${index}`
      await json(JobDetailView, 'restore', point.restorePointId, '--name', name, '--no-start', '--wait')
      const source = diskFile(await machine.findVm('elsewhere'), 'disk0')
      const copy = await convertToRaw(source, path.join(product.scratchDir, 'elsewhere.raw'))
      await expectSameContent(copy, diskFile(await machine.findVm(name), 'disk0'))
    }
  })
})
