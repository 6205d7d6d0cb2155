import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, open, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { promisify } from 'node:util'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { exportSigningKey, generateSigningKey } from '@sendense/shared/runtime/signing.ts'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { createMemoryDisk } from '../block/memory-disk.ts'
import { prepareLocalRepository } from '../jobs/local-repository.ts'
import { createTestAuthority } from '../nbd/client/test-authority.ts'
import { RawNbdClient } from '../nbd/server/raw-nbd-client.ts'
import { backUp } from '../repository/repository-scenario.ts'

const MIB = 1024 * 1024
const SIZE_BYTES = 8 * MIB
const signal = AbortSignal.timeout(300_000)
const main = join(import.meta.dirname, 'main.ts')
const runFile = promisify(execFile)
const Line = z.looseObject({ event: z.string(), name: z.string().optional(), uri: z.string().optional() })

async function makeDir() {
  const dir = await mkdtemp(join(tmpdir(), 'sd-serve-'))
  return { dir, [Symbol.asyncDispose]: async () => await rm(dir, { recursive: true, force: true }) }
}

interface Serving extends AsyncDisposable {
  readonly child: ChildProcess
  /** Of the exports, by name, for the first address. */
  readonly uris: ReadonlyMap<string, string>
  /** Ends it as Ctrl-C does and resolves with its exit code. */
  stop(): Promise<number | null>
  untilLine(event: string): Promise<void>
}

/** `sendense-edge serve`, up and listening. Rejects with what it said when it does not come up. */
async function serve(args: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<Serving> {
  const child = spawn(process.execPath, [main, 'serve', '--json', ...args], { env: { ...process.env, ...environment } })
  const exited = once(child, 'exit')
  const uris = new Map<string, string>()
  const events = new Set<string>()
  let wake = Promise.withResolvers<void>()
  let [said, complained, isOver] = ['', '', false]
  child.stderr.on('data', (text: Buffer) => (complained += text.toString()))
  child.stdout.on('data', (text: Buffer) => {
    const lines = (said + text.toString()).split('\n')
    said = lines.pop() ?? ''
    for (const line of lines.map((one) => Line.parse(JSON.parse(one)))) {
      events.add(line.event)
      if (line.name !== undefined && line.uri !== undefined) uris.set(line.name, line.uri)
    }
    wake.resolve()
  })
  child.once('exit', () => {
    isOver = true
    wake.resolve()
  })
  const untilLine = async (event: string): Promise<void> => {
    while (!events.has(event)) {
      if (isOver) throw new Error(complained)
      await wake.promise
      wake = Promise.withResolvers<void>()
    }
  }
  const stop = async (): Promise<number | null> => {
    child.kill('SIGINT')
    await exited
    return child.exitCode
  }
  await untilLine('serving')
  return {
    child,
    uris,
    stop,
    untilLine,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
      await exited
    },
  }
}

/** Runs it to its end, which must come by itself. */
async function serveInVain(args: readonly string[], environment: Readonly<Record<string, string>> = {}) {
  return await new Promise<{ exitCode: number | string | undefined | null; stderr: string }>((resolve) => {
    const options = { env: { ...process.env, ...environment }, timeout: 30_000 }
    execFile(process.execPath, [main, 'serve', ...args], options, (error, _, stderr) => {
      resolve({ exitCode: error === null ? 0 : error.code, stderr })
    })
  })
}

describe('serve FILE', () => {
  test('is read by nbdcopy, holes and all, until it is stopped', async () => {
    await using tmp = await makeDir()
    const image = join(tmp.dir, 'disk.raw')
    const file = await open(image, 'w')
    await file.write(randomBytes(3 * MIB), 0, 3 * MIB, 2 * MIB)
    await file.truncate(SIZE_BYTES)
    await file.close()
    const socket = join(tmp.dir, 's')
    await using serving = await serve([image, '--unix', socket, '--name', 'a disk'])
    const uri = serving.uris.get('a disk') ?? ''
    const { stdout } = await runFile('nbdinfo', ['--map', '--json', uri])
    expect(JSON.parse(stdout)).toMatchObject([
      { offset: 0, length: 2 * MIB, type: 3 },
      { offset: 2 * MIB, length: 3 * MIB, type: 0 },
      { offset: 5 * MIB, length: 3 * MIB, type: 3 },
    ])
    await runFile('nbdcopy', [uri, join(tmp.dir, 'copy.raw')])
    expect(Buffer.compare(await readFile(join(tmp.dir, 'copy.raw')), await readFile(image))).toBe(0)
    expect(await serving.stop()).toBe(0)
    await expect(stat(socket)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('over TLS lets in who has a certificate of its authority, and nobody else', async () => {
    await using tmp = await makeDir()
    const [image, folder] = [join(tmp.dir, 'disk.raw'), join(tmp.dir, 'client')]
    await writeFile(image, randomBytes(MIB))
    const authority = await createTestAuthority()
    const own = await authority.issue({ names: ['127.0.0.1'] })
    const client = await authority.issue({ names: ['client'] })
    await mkdir(folder)
    const files = {
      'key.pem': own.keyPem,
      'cert.pem': own.certificatePem,
      'ca.pem': authority.caPem,
      'client/ca-cert.pem': authority.caPem,
      'client/client-cert.pem': client.certificatePem,
      'client/client-key.pem': client.keyPem,
    }
    for (const [name, text] of Object.entries(files)) await writeFile(join(tmp.dir, name), text, { mode: 0o600 })
    const pem = (name: string): string => join(tmp.dir, `${name}.pem`)
    const tls = ['--tls-key', pem('key'), '--tls-certificate', pem('cert'), '--tls-client-ca', pem('ca')]
    await using serving = await serve([image, '--tcp', '127.0.0.1:0', ...tls])
    const uri = serving.uris.get('disk.raw') ?? ''
    const { stdout } = await runFile('nbdinfo', ['--size', `${uri}?tls-certificates=${folder}`])
    expect(stdout.trim()).toBe(String(MIB))
    await expect(runFile('nbdinfo', [uri.replace('nbds:', 'nbd:')])).rejects.toThrow('Command failed')
    const wrongKey = ['--tls-key', join(folder, 'client-key.pem'), '--tls-certificate', pem('cert')]
    const refused = await serveInVain([image, '--tcp', '0', ...wrongKey])
    expect(refused.stderr).toMatch(/^input.invalid: TLS cannot begin with this key and certificate/)
    expect(await serving.stop()).toBe(0)
  })

  test('a second signal ends it although a client has not read its answers', async () => {
    await using tmp = await makeDir()
    const image = join(tmp.dir, 'disk.raw')
    await writeFile(image, randomBytes(SIZE_BYTES))
    const socket = join(tmp.dir, 's')
    await using serving = await serve([image, '--unix', socket])
    await using client = await RawNbdClient.connect(socket)
    await client.go('disk.raw', { style: 'structured' })
    client.socket.pause()
    for (let count = 0; count < 8; count += 1) client.request({ command: 0, length: MIB })
    const exited = once(serving.child, 'exit')
    serving.child.kill('SIGINT')
    await serving.untilLine('stopping')
    expect(serving.child.exitCode).toBeNull()
    serving.child.kill('SIGINT')
    await exited
    expect(serving.child.exitCode).toBe(130)
  })

  test('wrong use is refused with exit code 1, and with what is wrong', async () => {
    const mistakes = [
      [['--tcp', '0'], 'either a FILE or --restore-point'],
      [['a', '--restore-point', 'b', '--tcp', '0'], 'either a FILE or --restore-point'],
      [['disk.raw'], '--unix, --tcp or both'],
      [['disk.raw', '--tcp', '0.0.0.0:10809'], '--tls-client-ca'],
      [['disk.raw', '--tcp', '0', '--tls-key', 'k'], 'both --tls-key and --tls-certificate'],
      [['disk.raw', '--tcp', '0', '--disk', 'd'], '--disk'],
      [['/nonexistent.raw', '--tcp', '0'], 'cannot read /nonexistent.raw'],
    ] as const
    const ends = await Promise.all(mistakes.map(async ([args]) => await serveInVain(args)))
    for (const [index, [, text]] of mistakes.entries()) {
      expect(ends[index]?.stderr).toMatch(new RegExp(`^input.invalid: .*${text}`))
      expect(ends[index]?.exitCode).toBe(1)
    }
  })
})

/** An agent's state and repository with one restore point of two disks. */
async function makeAgent() {
  const { dir, ...owner } = await makeDir()
  const [stateDir, repositoryDir] = [join(dir, 'state'), join(dir, 'repository')]
  const signingKey = generateSigningKey()
  const entry = await prepareLocalRepository({
    stateDir,
    dir: repositoryDir,
    name: 'here',
    runtimeDir: join(dir, 'run'),
    signingKey,
    newId: randomUUID,
    clock: systemClock,
    logger: createLogger('test', 'silent'),
  })
  await writeFile(join(stateDir, 'identity.key'), exportSigningKey(signingKey), { mode: 0o600 })
  await using repository = await entry.open({ signal })
  const contents = { disk0: randomBytes(SIZE_BYTES), disk1: Buffer.alloc(SIZE_BYTES) }
  contents.disk0.fill(0, 2 * MIB, 6 * MIB)
  contents.disk1.fill(9, MIB, 2 * MIB)
  const disks = Object.entries(contents).map(([diskId, content]) => ({
    diskId,
    sizeBytes: SIZE_BYTES,
    mode: 'full' as const,
    source: createMemoryDisk({ sizeBytes: SIZE_BYTES, content }),
  }))
  const { manifest } = await backUp(repository, { vmId: randomUUID(), disks }, { signal })
  return {
    ...owner,
    contents,
    manifest,
    dir,
    repositoryDir,
    socket: join(dir, 's'),
    environment: {
      SENDENSE_EDGE_STATE_DIR: stateDir,
      SENDENSE_EDGE_DATABASE_SOCKET: '/nonexistent',
      SENDENSE_EDGE_REPOSITORY_DIR: repositoryDir,
      SENDENSE_EDGE_RUNTIME_DIR: join(dir, 'run'),
    },
  }
}

describe('serve --restore-point', () => {
  test('every disk is an export that reads as what was backed up', async () => {
    await using agent = await makeAgent()
    const args = ['--restore-point', agent.manifest.restorePointId, '--unix', agent.socket]
    await using serving = await serve(args, agent.environment)
    for (const [diskId, content] of Object.entries(agent.contents)) {
      const copy = join(agent.dir, diskId)
      await runFile('nbdcopy', [serving.uris.get(diskId) ?? '', copy])
      expect(Buffer.compare(await readFile(copy), content)).toBe(0)
    }
    const { stdout } = await runFile('nbdinfo', ['--map', '--json', serving.uris.get('disk1') ?? ''])
    expect(JSON.parse(stdout)).toMatchObject([{ type: 3 }, { offset: MIB, length: MIB, type: 0 }, { type: 3 }])
    expect(await serving.stop()).toBe(0)
  })

  test('damage is a read error, and only there', async () => {
    await using agent = await makeAgent()
    const layer = agent.manifest.disks.find(({ diskId }) => diskId === 'disk0')?.layers?.[0] ?? ''
    const path = join(agent.repositoryDir, layer)
    const bytes = await readFile(path)
    const at = bytes.indexOf(agent.contents.disk0.subarray(MIB, MIB + 512))
    expect(at).toBeGreaterThan(0)
    const file = await open(path, 'r+')
    await file.write(Buffer.alloc(1, (bytes[at] ?? 0) ^ 1), 0, 1, at)
    await file.close()
    const args = ['--restore-point', agent.manifest.restorePointId, '--disk', 'disk0', '--unix', agent.socket]
    await using serving = await serve(args, agent.environment)
    expect([...serving.uris.keys()]).toEqual(['disk0'])
    const uri = serving.uris.get('disk0') ?? ''
    await expect(runFile('nbdcopy', [uri, 'null:'])).rejects.toThrow('Input/output error')
    const { stdout } = await runFile('qemu-io', ['-r', '-f', 'raw', uri, '-c', 'read 0 512k', '-c', 'read 4M 4M'])
    expect(stdout.match(/^read /gm)).toHaveLength(2)
  })

  test('what is not there is named', async () => {
    await using agent = await makeAgent()
    const listen = ['--unix', agent.socket]
    const point = ['--restore-point', agent.manifest.restorePointId]
    const elsewhere = { ...agent.environment, SENDENSE_EDGE_STATE_DIR: join(agent.dir, 'other') }
    const mistakes = [
      [['--restore-point', randomUUID()], agent.environment, 'repository.restore_point_not_found'],
      [[...point, '--disk', 'disk7'], agent.environment, 'has no disk disk7, it has disk0, disk1'],
      [point, elsewhere, 'has no repository in'],
      [point, { ...agent.environment, SENDENSE_EDGE_REPOSITORY_DIR: '' }, 'SENDENSE_EDGE_REPOSITORY_DIR'],
    ] as const
    for (const [args, environment, text] of mistakes) {
      const { exitCode, stderr } = await serveInVain([...args, ...listen], environment)
      expect(stderr).toContain(text)
      expect(exitCode).toBe(1)
    }
    await expect(stat(join(agent.dir, 'other'))).rejects.toMatchObject({ code: 'ENOENT' })
  })
})
