import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { makeTestDir } from '../client/real-nbd-server.ts'
import { createTestAuthority } from '../client/test-authority.ts'
import { createServedMemoryDisk } from './served-memory-disk.ts'
import { openTemporaryNbdServer } from './temporary-nbd-server.ts'

const SIZE_BYTES = 8 * 1024 * 1024
const signal = AbortSignal.timeout(300_000)
const run = promisify(execFile)
const authority = await createTestAuthority()
const stranger = await createTestAuthority()

/** A folder as libnbd and QEMU want a client's certificates: ca-cert.pem, client-cert.pem, client-key.pem. */
async function makeClient(dir: string, name: string, issuer = authority): Promise<string> {
  const folder = join(dir, name)
  const { certificatePem, keyPem } = await issuer.issue({ names: ['client'] })
  await mkdir(folder)
  await writeFile(join(folder, 'ca-cert.pem'), authority.caPem)
  await writeFile(join(folder, 'client-cert.pem'), certificatePem)
  await writeFile(join(folder, 'client-key.pem'), keyPem, { mode: 0o600 })
  return folder
}

async function serve() {
  const { certificatePem, keyPem } = await authority.issue({ names: ['localhost', '127.0.0.1'] })
  const tls = { mode: 'required', key: keyPem, certificate: certificatePem, clientCa: authority.caPem } as const
  const { disk, sink } = createServedMemoryDisk(randomBytes(SIZE_BYTES))
  const server = await openTemporaryNbdServer([{ name: 'disk', source: disk, sink }], { tls })
  const address = await server.server.listen({ transport: 'tcp', host: '127.0.0.1', port: 0 })
  return Object.assign(server, { disk, port: address.transport === 'tcp' ? address.port : 0 })
}

test('nbdinfo and nbdcopy read and write over TLS, a stranger cannot', async () => {
  await using tmp = await makeTestDir()
  await using server = await serve()
  const uri = (folder: string): string => `nbds://127.0.0.1:${server.port}/disk?tls-certificates=${folder}`
  const good = await makeClient(tmp.dir, 'good')
  const { stdout } = await run('nbdinfo', ['--json', uri(good)], { signal })
  expect(JSON.parse(stdout)).toMatchObject({ TLS: true, exports: [{ 'export-size': SIZE_BYTES }] })
  const copy = join(tmp.dir, 'copy.raw')
  await run('nbdcopy', [uri(good), copy], { signal })
  expect(Buffer.compare(await readFile(copy), server.disk.bytes)).toBe(0)
  const content = randomBytes(SIZE_BYTES)
  await writeFile(copy, content)
  await run('nbdcopy', ['--flush', copy, uri(good)], { signal })
  expect(Buffer.compare(content, server.disk.bytes)).toBe(0)
  const bad = await makeClient(tmp.dir, 'bad', stranger)
  await expect(run('nbdinfo', [uri(bad)], { signal })).rejects.toThrow('Command failed')
  await expect(run('nbdinfo', [`nbd://127.0.0.1:${server.port}/disk`], { signal })).rejects.toThrow('Command failed')
})

test('qemu-img converts over TLS, a stranger cannot', async () => {
  await using tmp = await makeTestDir()
  await using server = await serve()
  const target = join(tmp.dir, 'copy.raw')
  const convert = async (folder: string) => {
    const credentials = `tls-creds-x509,id=tls0,endpoint=client,dir=${folder}`
    const image = `driver=nbd,host=127.0.0.1,port=${server.port},export=disk,tls-creds=tls0`
    await run('qemu-img', ['convert', '--object', credentials, '--image-opts', image, '-O', 'raw', target], { signal })
  }
  await convert(await makeClient(tmp.dir, 'good'))
  expect(Buffer.compare(await readFile(target), server.disk.bytes)).toBe(0)
  await expect(convert(await makeClient(tmp.dir, 'bad', stranger))).rejects.toThrow('Command failed')
})
