import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { TestGuestAgent } from '../../qemu/test-guest-agent.ts'
import { KvmTestHost } from './kvm-test-host.ts'
import { describeVmHost, type VmHostFixture } from './vm-host.conformance.ts'

const sizeBytes = 1024 * 1024

async function openFixture(): Promise<VmHostFixture> {
  await using undo = new AsyncDisposableStack()
  const made = undo.use(await KvmTestHost.open())
  const disks = [{ diskId: 'disk0', sizeBytes }]
  const running = await made.addVm('running', disks)
  await made.start(running)
  const stopped = await made.addVm('stopped', disks)
  await mkdir(stopped.runtimeDir, { recursive: true })
  const agent = undo.use(await TestGuestAgent.open(stopped.guestAgentSocket))
  const kept = undo.move()
  return {
    host: made.local,
    runningVmId: running.config.vmId,
    stoppedVmId: stopped.config.vmId,
    sizeBytes,
    agent,
    breakDisk: async () => await writeFile(join(stopped.dir, 'disk0.qcow2'), 'no image'),
    [Symbol.asyncDispose]: async () => await kept.disposeAsync(),
  }
}

describeVmHost('local', openFixture)
