import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { createMemoryDisk } from '../../block/memory-disk.ts'
import { QmpClient } from '../../qemu/qmp-client.ts'
import { TestLineServer } from '../../qemu/test-line-server.ts'
import type { FrozenDisk } from '../source-connector.ts'
import { KvmBackupSession } from './kvm-backup-session.ts'
import { KvmHost } from './kvm-host.ts'
import { LocalVmHost } from './local-vm-host.ts'
import { sessionNames } from './session-names.ts'
import { SessionWatch } from './session-watch.ts'
import { type VmConfig, writeVmConfig } from './vm-config.ts'

const options = { signal: AbortSignal.timeout(20_000) }
const Command = z.object({ execute: z.string(), id: z.number() })

/** A monitor of this process: nothing is left in its QEMU. */
async function openMonitor() {
  await using undo = new AsyncDisposableStack()
  const server = await TestLineServer.open({
    greeting: '{"QMP": {"version": {}}}\n',
    handle: (line, reply) => {
      const { execute, id } = Command.parse(JSON.parse(line))
      reply(`{"return": ${execute.startsWith('query-') ? '[]' : '{}'}, "id": ${id}}\n`)
    },
  })
  undo.use(server)
  const qmp = undo.use(await QmpClient.connect(server.path, options))
  const kept = undo.move()
  return { qmp, [Symbol.asyncDispose]: async () => await kept.disposeAsync() }
}

async function openVm() {
  const dir = await mkdtemp(join(tmpdir(), 'sd-session-'))
  const host = new KvmHost({ rootDir: join(dir, 'vms'), runtimeDir: join(dir, 'run') })
  await mkdir(host.rootDir)
  const disks: VmConfig['disks'] = [{ diskId: 'disk0', file: 'disk0.qcow2', format: 'qcow2' }]
  const machine = { memoryBytes: 64 * 1024 * 1024, cpuCount: 1, disks, firmware: 'bios', network: 'none' } as const
  const config: VmConfig = { version: 1, vmId: randomUUID(), name: 'web', ...machine }
  const draft = await host.createDraft(randomUUID())
  await writeVmConfig(draft, config)
  const vm = await host.publishDraft(draft, config)
  const located = { host: new LocalVmHost({ host }), config }
  return { vm, located, [Symbol.asyncDispose]: async () => await rm(dir, { recursive: true, force: true }) }
}

test('the room for old data is watched until the jobs that fill it are gone', async () => {
  await using monitor = await openMonitor()
  await using opened = await openVm()
  const { vm: there, located } = opened
  const names = sessionNames(randomUUID())
  const { scratchFile } = names.disk('disk0', 0)
  await writeFile(join(there.dir, scratchFile), new Uint8Array(65_536))
  const content = createMemoryDisk({ sizeBytes: 65_536 })
  const hanging = Promise.withResolvers<void>()
  const source = Object.assign(content.freeze(), { [Symbol.asyncDispose]: async () => await hanging.promise })
  const disk: FrozenDisk = { diskId: 'disk0', sizeBytes: 65_536, mode: 'full', reason: 'FULL_FIRST', source }
  const vm = { platformRef: there.config.vmId, name: 'web', powerState: 'running', guestAgent: false } as const
  let closed = 0
  const session = new KvmBackupSession({
    located,
    nbd: { path: '', hostPath: '', [Symbol.asyncDispose]: async () => {} },
    lease: { qmp: monitor.qmp, [Symbol.asyncDispose]: async () => {} },
    names,
    watch: new SessionWatch({ qmp: monitor.qmp, names, vmName: 'web' }),
    limits: { minFreeBytes: 0, maxBytes: 0 },
    takenAt: new Date(),
    consistency: 'crash',
    vm: { ...vm, memoryBytes: 0, cpuCount: 1, disks: [], definition: {} },
    disks: [disk],
    onClosed: () => void closed++,
  })
  session.lost.addEventListener('abort', () => hanging.resolve())
  await session[Symbol.asyncDispose]()
  expect(session.lost.reason).toMatchObject({ code: 'source.fleecing_space' })
  expect(closed).toBe(1)
})
