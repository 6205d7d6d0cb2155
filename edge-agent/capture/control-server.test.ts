import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { KvmHost } from '../platforms/kvm/kvm-host.ts'
import { KvmTargetConnector } from '../platforms/kvm/kvm-target-connector.ts'
import { LocalVmHost } from '../platforms/kvm/local-vm-host.ts'
import { writeVmConfig } from '../platforms/kvm/vm-config.ts'
import { IN_FLIGHT_MAX, REQUEST_MAX_BYTES } from './capture-protocol.ts'
import { ControlConnection } from './control-connection.ts'
import { ControlServer } from './control-server.ts'
import { PortLeases } from './port-leases.ts'
import { VmCreations } from './vm-creations.ts'

const options = { signal: AbortSignal.timeout(60_000) }
const logger = createLogger('test', 'silent')
const vmId = '0c0ffee0-0000-4000-8000-000000000003'

async function openServer() {
  const dir = await mkdtemp(join(tmpdir(), 'sd-control-'))
  const path = join(dir, 'control.sock')
  const kvm = new KvmHost({ rootDir: join(dir, 'vms'), runtimeDir: join(dir, 'run') })
  await mkdir(kvm.rootDir)
  const agents: number[] = []
  const leases = new PortLeases({ ports: [2, 3], setTarget: async () => {} })
  const target = new KvmTargetConnector({ host: kvm })
  const server = await ControlServer.open({
    path,
    version: '1.2.3',
    logger,
    host: new LocalVmHost({ host: kvm }),
    leases,
    target,
    creations: new VmCreations({ target, leases }),
    status: async () => {
      throw new Error('not asked here')
    },
    onAgents: (count) => agents.push(count),
  })
  const addVm = async (name: string, id: string) => {
    const disks = [{ diskId: 'disk0', file: 'disk0.qcow2', format: 'qcow2' as const }]
    const machine = { memoryBytes: 64 * 1024 * 1024, cpuCount: 1, disks, firmware: 'bios', network: 'none' } as const
    const config = { version: 1 as const, vmId: id, name, ...machine }
    const draft = await kvm.createDraft(id)
    await writeVmConfig(draft, config)
    await kvm.publishDraft(draft, config)
  }
  const dispose = async () => {
    await server[Symbol.asyncDispose]()
    await rm(dir, { recursive: true, force: true })
  }
  return { path, server, agents, addVm, [Symbol.asyncDispose]: dispose }
}

/** A peer that sends what it likes. */
function openRaw(path: string) {
  const socket = connect(path)
  socket.on('error', () => {})
  const lines: string[] = []
  createInterface({ input: socket }).on('line', (line) => lines.push(line))
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  return { socket, lines, closed }
}

const hello = '{"id":1,"method":"hello","params":{"protocol":1,"role":"agent"}}\n'

test('greets with its versions, and refuses an agent of another one in words', async () => {
  await using opened = await openServer()
  const raw = openRaw(opened.path)
  raw.socket.write('{"id":1,"method":"hello","params":{"protocol":99,"role":"agent"}}\n')
  await expect.poll(() => raw.lines).toHaveLength(2)
  expect(JSON.parse(raw.lines[0] ?? '')).toEqual({
    service: 'sendense-capture',
    protocols: { min: 1, max: 1 },
    version: '1.2.3',
  })
  expect(JSON.parse(raw.lines[1] ?? '')).toMatchObject({ id: 1, error: { code: 'capture.version_unsupported' } })
  expect(opened.agents).toEqual([])
  raw.socket.destroy()
})

test('nothing but hello is answered before it, and a person who looks may only look', async () => {
  await using opened = await openServer()
  const raw = openRaw(opened.path)
  raw.socket.write('{"id":1,"method":"list-vms","params":{}}\n')
  raw.socket.write('{"id":2,"method":"hello","params":{"protocol":1,"role":"status"}}\n')
  raw.socket.write('{"id":3,"method":"list-vms","params":{}}\n')
  await expect.poll(() => raw.lines).toHaveLength(4)
  expect(raw.lines.slice(1).map((line): unknown => JSON.parse(line))).toMatchObject([
    { id: 1, error: { code: 'input.invalid' } },
    { id: 2, result: {} },
    { id: 3, error: { code: 'input.invalid' } },
  ])
  expect(opened.server.agents).toBe(0)
  raw.socket.destroy()
})

test.each([
  ['what is no JSON', 'hello\n'],
  ['what is no request', '{"id":1}\n'],
  ['a line that is too long', `${hello}{"id":2,"method":"${'x'.repeat(REQUEST_MAX_BYTES)}"}\n`],
  ['a line without an end', `${hello}${'x'.repeat(REQUEST_MAX_BYTES + 1)}`],
])('%s ends that connection and no other', async (_what, bytes) => {
  await using opened = await openServer()
  await using good = await ControlConnection.open(opened.path, { ...options, role: 'agent' })
  const raw = openRaw(opened.path)
  raw.socket.write(bytes)
  await raw.closed
  expect(await good.call('list-vms', {}, options)).toEqual({ vms: [] })
})

test.each([1, 2, 3, 7])('a request that is too long ends its connection, in %i pieces too', async (count) => {
  await using opened = await openServer()
  const raw = openRaw(opened.path)
  raw.socket.write(hello)
  await expect.poll(() => raw.lines).toHaveLength(2)
  const line = Buffer.from(`{"id":2,"method":"list-vms","params":{}${' '.repeat(REQUEST_MAX_BYTES)}}\n`)
  const pieceBytes = Math.ceil(line.length / count)
  for (let at = 0; at < line.length; at += pieceBytes) {
    await new Promise((resolve) => raw.socket.write(line.subarray(at, at + pieceBytes), resolve))
    await new Promise((resolve) => setImmediate(resolve))
  }
  await raw.closed
  expect(raw.lines).toHaveLength(2)
})

test.each([
  ['a request that there is none of', '{"id":7,"method":"run-command","params":{}}'],
  ['a name of Object.prototype', '{"id":7,"method":"constructor","params":{}}'],
  ['parameters that are missing', '{"id":7,"method":"find-vm","params":{}}'],
  ['a VM by a path', '{"id":7,"method":"find-vm","params":{"vmId":"../../etc"}}'],
  [
    'a file elsewhere',
    `{"id":7,"method":"create-scratch","params":{"vmId":"${vmId}","file":"../x.fleece","sizeBytes":1}}`,
  ],
  ['a service that there is none of', `{"id":7,"method":"open-service","params":{"vmId":"${vmId}","service":"ssh"}}`],
  ['more than is known', '{"id":7,"method":"list-vms","params":{"all":true}}'],
])('%s is refused as input.invalid', async (_what, line) => {
  await using opened = await openServer()
  const raw = openRaw(opened.path)
  raw.socket.write(`${hello}${line}\n`)
  await expect.poll(() => raw.lines).toHaveLength(3)
  expect(JSON.parse(raw.lines[2] ?? '')).toMatchObject({ id: 7, error: { code: 'input.invalid' } })
  raw.socket.destroy()
})

test('an error crosses with its code, sentence and details', async () => {
  await using opened = await openServer()
  await using connection = await ControlConnection.open(opened.path, { ...options, role: 'agent' })
  const asking = connection.call('measure-space', { vmId }, options)
  await expect(asking).rejects.toMatchObject({
    code: 'source.vm_not_found',
    message: expect.stringContaining(vmId) as string,
    details: { platformRef: vmId },
  })
})

test('hundreds of VMs come page by page, each once', async () => {
  await using opened = await openServer()
  const names = Array.from({ length: 120 }, (_, index) => `vm-${String(index).padStart(3, '0')}`)
  for (const [index, name] of names.entries()) {
    await opened.addVm(name, `0c0ffee0-0000-4000-8000-${String(index).padStart(12, '0')}`)
  }
  await using connection = await ControlConnection.open(opened.path, { ...options, role: 'agent' })
  const seen: string[] = []
  let after: string | undefined
  do {
    const page = await connection.call('list-vms', after === undefined ? {} : { after }, options)
    expect(page.vms.length).toBeLessThanOrEqual(50)
    seen.push(...page.vms.map(({ config }) => config.name))
    after = page.next
  } while (after !== undefined)
  expect(seen).toEqual(names)
})

test('more requests than are worked on at once are all answered', async () => {
  await using opened = await openServer()
  await using connection = await ControlConnection.open(opened.path, { ...options, role: 'agent' })
  const count = 10 * IN_FLIGHT_MAX
  const answers = Array.from({ length: count }, async () => await connection.call('list-vms', {}, options))
  expect(await Promise.all(answers)).toHaveLength(count)
})

test('agents are counted as they come and go', async () => {
  await using opened = await openServer()
  const first = await ControlConnection.open(opened.path, { ...options, role: 'agent' })
  await using second = await ControlConnection.open(opened.path, { ...options, role: 'agent' })
  expect(opened.server.agents).toBe(2)
  await first[Symbol.asyncDispose]()
  await expect.poll(() => opened.agents).toEqual([1, 2, 1])
  expect(second.closed.aborted).toBe(false)
})

test('random bytes never end the server', async () => {
  await using opened = await openServer()
  const piece = fc.oneof(
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    fc.json().map((text) => Buffer.from(`${text}\n`)),
    fc.constantFrom(hello, '\n', '{}\n', '[]\n', 'null\n').map((text) => Buffer.from(text)),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { minLength: 1, maxLength: 8 }), async (pieces) => {
      const raw = openRaw(opened.path)
      for (const bytes of pieces) raw.socket.write(bytes)
      raw.socket.end()
      await raw.closed
    }),
    { numRuns: 60 },
  )
  await using connection = await ControlConnection.open(opened.path, { ...options, role: 'agent' })
  expect(await connection.call('list-vms', {}, options)).toEqual({ vms: [] })
})
