import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { NbdEndpoint } from '../../block/block-endpoint.ts'
import { openNbdConnection } from './nbd-connection.ts'
import { openNbdSink } from './nbd-sink.ts'
import { openNbdSource } from './nbd-source.ts'
import { makeTestDir, qemuImg, startNbdkit, startQemuNbd, startTcpNbdkit } from './real-nbd-server.ts'
import { createTestAuthority } from './test-authority.ts'

const SIZE_BYTES = 4 * 1024 * 1024
const signal = AbortSignal.timeout(300_000)
const authority = await createTestAuthority()
const stranger = await createTestAuthority()

/** GnuTLS closes without a word when it does not like the client's certificate. */
const notLiked = { code: 'nbd.disconnected', message: expect.stringContaining('another client certificate') }

/** A folder as nbdkit and QEMU want their certificates: ca-cert.pem, server-cert.pem, server-key.pem. */
async function makeCertificates(dir: string, names: readonly string[]): Promise<string> {
  const certificates = join(dir, 'certificates')
  const { certificatePem, keyPem } = await authority.issue({ names })
  await mkdir(certificates)
  await writeFile(join(certificates, 'ca-cert.pem'), authority.caPem)
  await writeFile(join(certificates, 'server-cert.pem'), certificatePem)
  await writeFile(join(certificates, 'server-key.pem'), keyPem, { mode: 0o600 })
  return certificates
}

async function expectRoundTrip(endpoint: NbdEndpoint): Promise<void> {
  const written = Uint8Array.from({ length: 3_000_000 }, (_, at) => (at * 31) % 251)
  await using sink = await openNbdSink(endpoint, { signal })
  await sink.write(5000, written, { signal })
  await sink.flush({ signal })
  await using source = await openNbdSource(endpoint, { signal })
  const read = new Uint8Array(written.length)
  await source.read(5000, read, { signal })
  expect(Buffer.compare(read, written)).toBe(0)
}

test('nbdkit over a unix socket and over TCP, by name and by address', async () => {
  await using tmp = await makeTestDir()
  const certificates = await makeCertificates(tmp.dir, ['localhost', '127.0.0.1'])
  const args = ['--tls=require', `--tls-certificates=${certificates}`, 'memory', String(SIZE_BYTES)]
  const tls = { caPem: authority.caPem }
  for (const start of [startNbdkit, startTcpNbdkit]) {
    await using server = await start(args)
    await expectRoundTrip({ ...server.endpoint, tls })
    const wrongName = { ...server.endpoint, tls: { ...tls, serverName: 'disk.example' } }
    await expect(openNbdConnection(wrongName, { signal })).rejects.toMatchObject({ code: 'nbd.tls_failed' })
    const wrongCa = { ...server.endpoint, tls: { caPem: stranger.caPem } }
    await expect(openNbdConnection(wrongCa, { signal })).rejects.toMatchObject({ code: 'nbd.tls_failed' })
    await expect(openNbdConnection(server.endpoint, { signal })).rejects.toMatchObject({ code: 'nbd.access_denied' })
  }
})

test('nbdkit that wants certificates of its clients', async () => {
  await using tmp = await makeTestDir()
  const certificates = await makeCertificates(tmp.dir, ['localhost'])
  const tlsArgs = ['--tls=require', '--tls-verify-peer', `--tls-certificates=${certificates}`]
  await using server = await startNbdkit([...tlsArgs, 'memory', String(SIZE_BYTES)])
  const client = await authority.issue({ names: ['agent'] })
  await expectRoundTrip({ ...server.endpoint, tls: { caPem: authority.caPem, client } })
  const strange = await stranger.issue({ names: ['agent'] })
  for (const tls of [{ caPem: authority.caPem }, { caPem: authority.caPem, client: strange }]) {
    const opening = openNbdConnection({ ...server.endpoint, tls }, { signal })
    await expect(opening).rejects.toMatchObject(notLiked)
  }
})

test('nbdkit that has no TLS', async () => {
  await using server = await startNbdkit(['--tls=off', 'memory', String(SIZE_BYTES)])
  const endpoint = { ...server.endpoint, tls: { caPem: authority.caPem } }
  await expect(openNbdConnection(endpoint, { signal })).rejects.toMatchObject({ code: 'nbd.tls_failed' })
})

test('qemu-nbd with certificates on both sides', async () => {
  await using tmp = await makeTestDir()
  const certificates = await makeCertificates(tmp.dir, ['localhost'])
  const image = join(tmp.dir, 'disk.qcow2')
  await qemuImg('create', '-q', '-f', 'qcow2', image, String(SIZE_BYTES))
  const object = `tls-creds-x509,id=t0,dir=${certificates},endpoint=server,verify-peer=on`
  await using server = await startQemuNbd(image, ['--format=qcow2', `--object=${object}`, '--tls-creds=t0'])
  const client = await authority.issue({ names: ['agent'] })
  await expectRoundTrip({ ...server.endpoint, tls: { caPem: authority.caPem, client } })
  await expect(openNbdConnection(server.endpoint, { signal })).rejects.toMatchObject({ code: 'nbd.access_denied' })
  const opening = openNbdConnection({ ...server.endpoint, tls: { caPem: authority.caPem } }, { signal })
  await expect(opening).rejects.toMatchObject(notLiked)
})
