import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { formatNbdUri } from '../nbd-uri.ts'
import { namesOfFlags } from '../wire/transmission-flags.ts'
import { describeNbdExport, listNbdExports } from './nbd-exports.ts'
import { makeTestDir, qemuImg, startNbdkit, startQemuNbd } from './real-nbd-server.ts'
import { createTestAuthority } from './test-authority.ts'

const MIB = 1024 * 1024
const options = { signal: AbortSignal.timeout(300_000) }
const run = promisify(execFile)
const main = join(import.meta.dirname, '../../cli/main.ts')

/** What nbdinfo says of an export; flags under our names. */
const NbdinfoExport = z.object({
  'export-name': z.string(),
  'export-size': z.int(),
  'description': z.string().optional(),
  'contexts': z.array(z.string()),
  'is_read_only': z.boolean(),
  'can_multi_conn': z.boolean(),
  'can_trim': z.boolean(),
  'can_fast_zero': z.boolean(),
  'block_size_minimum': z.int().optional(),
})

async function askNbdinfo(uri: string, ...args: readonly string[]) {
  const { stdout } = await run('nbdinfo', ['--json', ...args, uri])
  return z.object({ exports: z.array(NbdinfoExport) }).parse(JSON.parse(stdout)).exports
}

test('nbdkit and qemu-nbd are understood as libnbd understands them', async () => {
  await using tmp = await makeTestDir()
  const image = join(tmp.dir, 'disk.qcow2')
  await qemuImg('create', '-q', '-f', 'qcow2', image, String(MIB))
  await qemuImg('bitmap', '--add', image, 'b0')
  await mkdir(join(tmp.dir, 'files'))
  await writeFile(join(tmp.dir, 'files', 'one disk'), new Uint8Array(4096))
  await writeFile(join(tmp.dir, 'files', 'zwei'), new Uint8Array(8192))
  const qemuArgs = ['--format=qcow2', '--read-only', '--bitmap=b0', '--export-name=a/b c', '--description=a disk']
  await using qemu = await startQemuNbd(image, qemuArgs)
  await using files = await startNbdkit(['file', `dir=${join(tmp.dir, 'files')}`])
  await using memory = await startNbdkit(['memory', String(MIB)])
  for (const { endpoint } of [qemu, files, memory]) {
    const { exports } = await listNbdExports(endpoint.address, options)
    const theirs = await askNbdinfo(formatNbdUri({ ...endpoint, exportName: '' }), '--list')
    const ours = exports.map(({ exportName, description, facts }) => {
      const can = new Set(namesOfFlags(facts?.flags ?? 0))
      return {
        'export-name': exportName,
        'export-size': facts?.sizeBytes,
        'contexts': facts?.contexts,
        'is_read_only': can.has('read-only'),
        'can_multi_conn': can.has('multi-conn'),
        'can_trim': can.has('trim'),
        'can_fast_zero': can.has('fast-zero'),
        ...(facts?.blockSizes === undefined ? {} : { block_size_minimum: facts.blockSizes.minimumBytes }),
        ...(description === '' ? {} : { description }),
      }
    })
    expect(theirs).toMatchObject(ours)
  }
})

test('libnbd opens the export that our URI names, whatever its name is', async () => {
  await using server = await startNbdkit(['--filter=exportname', 'memory', String(MIB), 'exportname-list=defaultonly'])
  for (const exportName of ['', 'disk', '/a b', 'x?y=z&socket=no', '€', '100%', 'a+b#c']) {
    const uri = formatNbdUri({ ...server.endpoint, exportName })
    const [theirs] = await askNbdinfo(uri)
    expect(theirs?.['export-name']).toBe(exportName)
    const ours = await describeNbdExport(server.endpoint.address, exportName, options)
    expect(ours.facts.sizeBytes).toBe(MIB)
  }
})

test('the command line lists and describes, over TLS too, and names what is wrong', async () => {
  await using tmp = await makeTestDir()
  const authority = await createTestAuthority()
  const { certificatePem, keyPem } = await authority.issue({ names: ['localhost'] })
  await writeFile(join(tmp.dir, 'ca-cert.pem'), authority.caPem)
  await writeFile(join(tmp.dir, 'server-cert.pem'), certificatePem)
  await writeFile(join(tmp.dir, 'server-key.pem'), keyPem)
  const tlsArgs = ['--tls=require', `--tls-certificates=${tmp.dir}`]
  await using server = await startNbdkit([...tlsArgs, 'memory', String(MIB)])
  const secure = formatNbdUri({ ...server.endpoint, exportName: 'disk', tls: { caPem: authority.caPem } })
  const certificates = ['--tls-certificates', tmp.dir]
  const info = await runCli('info', secure, ...certificates, '--json')
  expect(JSON.parse(info.stdout)).toMatchObject({ tls: true, sizeBytes: MIB, uri: secure })
  const list = await runCli('list', secure, ...certificates)
  expect(list.stdout).toContain('over TLS')
  expect(list.stdout).toContain(`${MIB} bytes (1 MiB)`)
  const mistakes = [
    [['info', formatNbdUri(server.endpoint)], 'nbd.access_denied'],
    [['info', secure], 'input.invalid'],
    [['info', `${secure}&tls-hostname=other.example`, ...certificates], 'nbd.tls_failed'],
    [['info', secure, '--tls-certificates', '/nonexistent'], 'input.invalid'],
    [['list', 'nbd://localhost:1/'], 'nbd.disconnected'],
    [['list', 'ftp://localhost/'], 'input.invalid'],
  ] as const
  for (const [args, code] of mistakes) {
    const { exitCode, stderr, stdout } = await runCli(...args)
    const outcome = { args, exitCode, stdout, code: stderr.split(':')[0] }
    expect(outcome).toEqual({ args, exitCode: 1, stdout: '', code })
  }
})

async function runCli(...args: readonly string[]) {
  return await new Promise<{ exitCode: number; stdout: string; stderr: string }>((resolve) => {
    execFile(process.execPath, [main, 'nbd', ...args], (error, stdout, stderr) => {
      resolve({ exitCode: typeof error?.code === 'number' ? error.code : 0, stdout, stderr })
    })
  })
}
