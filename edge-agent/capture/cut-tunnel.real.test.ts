import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import process from 'node:process'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { KvmSourceConnector } from '../platforms/kvm/kvm-source-connector.ts'
import type { BackupRequest, SourceBackupSession, TrackingToken } from '../platforms/source-connector.ts'
import { QmpClient } from '../qemu/qmp-client.ts'
import { TestGuestAgent } from '../qemu/test-guest-agent.ts'
import type { CaptureAgentOptions } from './capture-agent.ts'
import type { RemoteVmHostOptions } from './remote-vm-host.ts'
import { TestCaptureHost } from './test-capture-host.ts'

const options = { signal: AbortSignal.timeout(5 * 60_000) }
const MIB = 1024 * 1024
const none: ReadonlyMap<string, TrackingToken> = new Map()

/** A running VM behind a capture agent, its first MiB backed up and the second written since. */
async function openScene({
  agent = {},
  host: more = {},
}: { readonly agent?: Partial<CaptureAgentOptions>; readonly host?: Partial<RemoteVmHostOptions> } = {}) {
  const made = await TestCaptureHost.open(agent)
  const { kvm } = made
  const vm = await kvm.addVm('guest', [{ diskId: 'disk0', sizeBytes: 8 * MIB }])
  await kvm.start(vm)
  const host = made.connect(more)
  const connector = new KvmSourceConnector({ hosts: () => [host] })
  const platformRef = `${host.hostId}/${vm.config.vmId}`
  const ask = (base: ReadonlyMap<string, TrackingToken>): BackupRequest => {
    return { platformRef, sessionId: randomUUID(), quiesce: true, base, full: false }
  }
  // Through the host's own monitor while no edge agent holds it.
  const onHost = async (work: () => Promise<void>) => {
    await work()
    await kvm.cutMonitors()
  }
  await onHost(async () => await kvm.guestIo(vm, 'disk0', 'write -P 1 0 1M'))
  const first = await connector.openBackup(ask(none), options)
  await first.commit(options)
  await first[Symbol.asyncDispose]()
  const base = tokensOf(first)
  await onHost(async () => await kvm.guestIo(vm, 'disk0', 'write -P 2 1M 1M'))
  const leftovers = async () => (await kvm.local.findVm(vm.config.vmId, options))?.scratchFiles ?? []
  const dispose = async () => {
    await connector[Symbol.asyncDispose]()
    await made[Symbol.asyncDispose]()
  }
  const isNoticed = async (isReachable: boolean) => await expect.poll(() => host.isReachable).toBe(isReachable)
  const cut = async () => {
    made.tunnel.cut()
    await isNoticed(false)
  }
  const mend = async () => {
    made.tunnel.mend()
    await isNoticed(true)
  }
  const scene = { made, cut, mend, kvm, vm, host, connector, platformRef, ask, base, onHost, leftovers }
  return { ...scene, [Symbol.asyncDispose]: dispose }
}

/** A VM whose guest agent answers, though it does not run. */
async function openFreezable() {
  const made = await TestCaptureHost.open()
  const { config, runtimeDir, guestAgentSocket } = await made.kvm.addVm('stopped', [
    { diskId: 'disk0', sizeBytes: MIB },
  ])
  await mkdir(runtimeDir, { recursive: true })
  const agent = await TestGuestAgent.open(guestAgentSocket)
  const dispose = async () => {
    await agent[Symbol.asyncDispose]()
    await made[Symbol.asyncDispose]()
  }
  return { made, agent, host: made.connect(), vmId: config.vmId, [Symbol.asyncDispose]: dispose }
}

function tokensOf(session: SourceBackupSession): ReadonlyMap<string, TrackingToken> {
  return new Map(session.disks.flatMap(({ token }) => (token === undefined ? [] : [[token.diskId, token]])))
}

async function dirtyBytes(session: SourceBackupSession): Promise<number> {
  let sum = 0
  for (const { source } of session.disks) {
    const all = { offsetBytes: 0, lengthBytes: source.sizeBytes }
    for await (const extent of source.extents(all, options)) if (extent.dirty) sum += extent.lengthBytes
  }
  return sum
}

test('requests wait while the tunnel is cut, and are answered when it is mended', async () => {
  await using scene = await openScene()
  const { made, host, vm } = scene
  made.tunnel.cut()
  const waiting = host.measureSpace(vm.config.vmId, options)
  await expect.poll(() => host.isReachable).toBe(false)
  made.tunnel.mend()
  expect((await waiting).freeBytes).toBeGreaterThan(0)
})

test('a host that is away for longer than the patience is source.unreachable, at once from then on', async () => {
  await using scene = await openScene({ host: { patienceMs: 100 } })
  scene.made.tunnel.cut()
  for (const _ of [1, 2]) {
    const asking = scene.host.findVm(scene.vm.config.vmId, options)
    await expect(asking).rejects.toMatchObject({ code: 'source.unreachable', details: { host: 'kvm1' } })
  }
  scene.made.tunnel.mend()
  await expect.poll(() => scene.host.isReachable).toBe(true)
  expect(await scene.host.findVm(scene.vm.config.vmId, options)).toBeDefined()
})

test('a session goes on through cuts of its tunnel, to its commit', async () => {
  await using scene = await openScene()
  const { connector, ask, base, cut, mend } = scene
  const session = await connector.openBackup(ask(base), options)
  for (const _ of [1, 2, 3]) {
    await cut()
    await mend()
  }
  const content = new Uint8Array(MIB)
  await session.disks[0]?.source.read(MIB, content, options)
  expect(content.every((byte) => byte === 2)).toBe(true)
  expect(await dirtyBytes(session)).toBe(MIB)
  await session.commit(options)
  await session[Symbol.asyncDispose]()
  expect(session.lost.aborted).toBe(false)
  expect(await scene.leftovers()).toEqual([])
  expect(await scene.kvm.bitmaps(scene.vm, 'disk0')).toEqual([tokensOf(session).get('disk0')?.checkpoint])
})

test('a session goes on through a restart of the capture agent: its ways lead where they led', async () => {
  await using scene = await openScene()
  const { made, connector, ask, base } = scene
  await using session = await connector.openBackup(ask(base), options)
  await made.stopAgent()
  await made.startAgent()
  await expect.poll(() => scene.host.isReachable).toBe(true)
  const content = new Uint8Array(MIB)
  await session.disks[0]?.source.read(MIB, content, options)
  expect(content.every((byte) => byte === 2)).toBe(true)
  await session.commit(options)
  expect(session.lost.aborted).toBe(false)
})

test("a way that leads to another VM's disk after a cut shows nothing of it", async () => {
  await using scene = await openScene({ host: { patienceMs: 500 } })
  const { made, kvm, connector, ask, base, host, cut, mend } = scene
  const other = await kvm.addVm('other', [{ diskId: 'disk0', sizeBytes: 8 * MIB }])
  await kvm.start(other)
  await using others = await connector.openBackup(
    { ...ask(none), platformRef: `${host.hostId}/${other.config.vmId}` },
    options,
  )
  await using session = await connector.openBackup(ask(base), options)
  const read = async () => await session.disks[0]?.source.read(MIB, new Uint8Array(MIB), options)
  await read()
  // What must never be: somebody mixes the ports up.
  const endpoint = session.disks[0]?.source.endpoint
  const address = endpoint?.kind === 'nbd' ? endpoint.address : undefined
  const port = Number(/(\d+)\.sock$/.exec(address?.transport === 'unix' ? address.path : '')?.[1])
  await cut()
  await mend()
  await made.tunnel.setTarget(port, { path: other.nbdSocket })
  await expect(read()).rejects.toMatchObject({ code: 'nbd.export_not_found' })
  expect(others.lost.aborted).toBe(false)
})

test('a backup job that ended while the tunnel was cut is noticed when it is mended', async () => {
  await using scene = await openScene()
  const { made, kvm, vm, connector, ask, base } = scene
  const request = ask(base)
  await using session = await connector.openBackup(request, options)
  made.tunnel.cut()
  await scene.onHost(async () => {
    const device = `sendense-${request.sessionId}-disk0`
    await kvm.qmp(vm, 'block-job-cancel', { device, force: true }, z.unknown())
    await expect.poll(async () => await kvm.qmp(vm, 'query-jobs', {}, z.array(z.unknown()))).toEqual([])
  })
  expect(session.lost.aborted).toBe(false)
  made.tunnel.mend()
  if (!session.lost.aborted) await once(session.lost, 'abort', options)
  expect(session.lost.reason).toMatchObject({ code: 'source.snapshot_failed' })
})

test('a VM that ends behind the tunnel makes its session lost at once, not after the patience', async () => {
  await using scene = await openScene({ host: { patienceMs: 10 * 60_000 } })
  const { kvm, vm, connector, ask, base } = scene
  const session = await connector.openBackup(ask(base), options)
  const lost = once(session.lost, 'abort', options)
  process.kill(await kvm.start(vm), 'SIGKILL')
  await lost
  expect(session.lost.reason).toMatchObject({ code: 'source.unreachable' })
  await session[Symbol.asyncDispose]()
  expect(await scene.leftovers()).toEqual([])
})

test('a cut that is longer than the patience ends the session; when it is mended nothing stays and the base serves', async () => {
  await using scene = await openScene({ host: { patienceMs: 300 } })
  const { made, connector, ask, base, mend } = scene
  const session = await connector.openBackup(ask(base), options)
  made.tunnel.cut()
  await once(session.lost, 'abort', options)
  expect(session.lost.reason).toMatchObject({ code: 'source.unreachable' })
  await session[Symbol.asyncDispose]()
  expect(await scene.leftovers()).toHaveLength(1)
  await mend()
  expect(await Array.fromAsync(connector.listVms(options))).toHaveLength(1)
  await expect.poll(async () => await scene.leftovers()).toEqual([])
  await connector.reconcile(scene.platformRef, [...base.values()], options)
  await using next = await connector.openBackup(ask(base), options)
  expect(next.disks.map(({ reason }) => reason)).toEqual(['INCREMENTAL'])
  expect(await dirtyBytes(next)).toBe(MIB)
})

test('a cut while the disks are being frozen is begun again, and leaves nothing of the first try', async () => {
  await using scene = await openScene()
  const { made, connector, ask, base } = scene
  let cuts = 0
  const clock = {
    now: () => {
      // The instant is taken, the export is not made yet.
      if (cuts++ === 0) {
        made.tunnel.cut()
        setTimeout(() => made.tunnel.mend(), 50)
      }
      return new Date()
    },
    sleep: async () => {},
  }
  await using again = new KvmSourceConnector({ hosts: () => [scene.host], clock })
  await using session = await again.openBackup(ask(base), options)
  expect(cuts).toBeGreaterThan(0)
  expect(await dirtyBytes(session)).toBe(MIB)
  expect(await scene.leftovers()).toHaveLength(1)
  await session.commit(options)
  await session[Symbol.asyncDispose]()
  expect(await scene.kvm.bitmaps(scene.vm, 'disk0')).toEqual([tokensOf(session).get('disk0')?.checkpoint])
  await connector.clearSessions(scene.platformRef, options)
})

test('an edge agent that does not come back: the capture agent clears its session itself', async () => {
  await using scene = await openScene({ agent: { orphans: { orphanedAfterMs: 300, checkEveryMs: 50 } } })
  const { made, kvm, vm, connector, ask, base } = scene
  await connector.openBackup(ask(base), options)
  expect(await scene.leftovers()).toHaveLength(1)
  made.tunnel.cut()
  await expect.poll(async () => await scene.leftovers(), { timeout: 20_000 }).toEqual([])
  await using qmp = await QmpClient.connect(vm.qmpSocket, options)
  expect(await qmp.execute('query-jobs', {}, z.array(z.unknown()), options)).toEqual([])
  expect(await qmp.execute('query-block-exports', {}, z.array(z.unknown()), options)).toEqual([])
  await qmp[Symbol.asyncDispose]()
  expect(await kvm.bitmaps(vm, 'disk0')).toContain(base.get('disk0')?.checkpoint)
})

test('an edge agent that is there, or was until just now, keeps its session', async () => {
  await using scene = await openScene({ agent: { orphans: { orphanedAfterMs: 60_000, checkEveryMs: 20 } } })
  const { made, connector, ask, base } = scene
  await using session = await connector.openBackup(ask(base), options)
  made.tunnel.cut()
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect(await scene.leftovers()).toHaveLength(1)
  made.tunnel.mend()
  await session.commit(options)
})

test('ports that are all taken are waited for, but not for ever', async () => {
  await using scene = await openScene()
  const { host, vm } = scene
  const held = []
  for (let count = 0; count < 5; count++) held.push(await host.openService(vm.config.vmId, 'monitor', options))
  expect(new Set(held.map(({ path }) => path)).size).toBe(5)
  const waiting = host.openService(vm.config.vmId, 'nbd', options)
  await held[2]?.[Symbol.asyncDispose]()
  expect((await waiting).path).toBe(held[2]?.path)
  const aborted = host.openService(vm.config.vmId, 'nbd', { signal: AbortSignal.timeout(100) })
  await expect(aborted).rejects.toThrow(/timeout/)
})

test.each(['cut', 'stop'] as const)(
  'a guest that is frozen is thawed at once when its caller is gone: %s',
  async (how) => {
    await using scene = await openFreezable()
    const { made, agent, host, vmId } = scene
    expect(await host.freezeGuest(vmId, { maxMs: 60_000 }, options)).toBe(true)
    expect(agent.frozen).toBe(true)
    if (how === 'cut') made.tunnel.cut()
    else await made.stopAgent()
    await expect.poll(() => agent.frozen, { timeout: 10_000 }).toBe(false)
  },
)

test('a guest whose freeze is under way when its caller is gone is thawed as soon as it is frozen', async () => {
  await using scene = await openFreezable()
  const { made, agent, host, vmId } = scene
  const freezing = host.freezeGuest(vmId, { maxMs: 60_000 }, options)
  freezing.catch(() => {})
  await expect.poll(() => made.agent.keeperPids()).toHaveLength(1)
  made.tunnel.cut()
  await expect(freezing).rejects.toMatchObject({ code: 'source.unreachable' })
  await expect.poll(() => agent.log, { timeout: 10_000 }).toContain('guest-fsfreeze-thaw')
  expect(agent.frozen).toBe(false)
})

test('a guest is thawed when its time is over, whatever becomes of who asked', async () => {
  await using scene = await openFreezable()
  const { agent, host, vmId } = scene
  expect(await host.freezeGuest(vmId, { maxMs: 200 }, options)).toBe(true)
  await expect.poll(() => agent.frozen, { timeout: 10_000 }).toBe(false)
  expect(await host.thawGuest(vmId)).toBe(0)
})

test('the process that holds a guest frozen is killed: the capture agent thaws', async () => {
  await using scene = await openFreezable()
  const { made, agent, host, vmId } = scene
  expect(await host.freezeGuest(vmId, { maxMs: 60_000 }, options)).toBe(true)
  for (const pid of made.agent.keeperPids()) process.kill(pid, 'SIGKILL')
  await expect.poll(() => agent.frozen, { timeout: 10_000 }).toBe(false)
  expect(await host.thawGuest(vmId)).toBe(0)
})
