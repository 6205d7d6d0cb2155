import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { NbdTls } from '../block/block-endpoint.ts'

/**
 * Reads a folder of certificates as nbdkit, libnbd and QEMU have them: `ca-cert.pem` says who may have signed the
 * server's certificate; `client-cert.pem` and `client-key.pem`, where both are there, prove who we are.
 * Rejects with `input.invalid` when a file that is needed is missing or is not PEM.
 */
export async function readTlsDirectory(directory: string): Promise<NbdTls> {
  const caPem = await readPem(directory, 'ca-cert.pem')
  const certificatePem = await readPem(directory, 'client-cert.pem')
  const keyPem = await readPem(directory, 'client-key.pem')
  if (caPem === undefined) throw new PlatformError('input.invalid', `there is no ca-cert.pem in ${directory}`)
  if ((certificatePem === undefined) !== (keyPem === undefined)) {
    throw new PlatformError('input.invalid', `${directory} has only one of client-cert.pem and client-key.pem`)
  }
  const client = certificatePem === undefined ? {} : { client: { certificatePem, keyPem } }
  const tls = NbdTls.safeParse({ caPem, ...client })
  if (tls.success) return tls.data
  throw new PlatformError('input.invalid', `${directory} has files that are not PEM`, { cause: tls.error })
}

async function readPem(directory: string, name: string): Promise<string | undefined> {
  try {
    return await readFile(join(directory, name), 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw new PlatformError('input.invalid', `cannot read ${name} in ${directory}: ${String(error)}`, { cause: error })
  }
}
