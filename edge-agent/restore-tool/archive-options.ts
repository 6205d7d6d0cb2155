import process from 'node:process'
import type { Command } from 'commander'
import type { CallOptions } from '../block/block-source.ts'
import type { Archive } from './archive.ts'
import { openArchive } from './open-archive.ts'
import type { Report } from './output/report.ts'
import { type SecretOptions, secretReader } from './secret-reader.ts'

/** Options of every command: how the repository is opened. */
export interface ArchiveOptions extends SecretOptions {
  readonly ringIdentity?: string
  readonly acceptUnknownSigners?: boolean
  readonly json?: boolean
}

export function addArchiveOptions(command: Command): Command {
  return command
    .option('--recovery-kit <file>', 'open it with the recovery kit in this file; - for standard input')
    .option('--passphrase-file <file>', 'open it with the passphrase in this file; - for standard input')
    .option('--private-key <file>', 'open it with the private key of an agent or an escrow, PEM')
    .option('--ring-identity <digits>', 'which key ring is meant, where the storage holds several')
    .option('--accept-unknown-signers', 'also believe manifests whose signer the repository does not know')
}

/** The repository that the command line names; what is odd about it was told. */
export async function openNamedArchive(
  storage: string,
  options: ArchiveOptions,
  { signal, report }: CallOptions & { readonly report: Report },
): Promise<Archive> {
  const { ringIdentity, acceptUnknownSigners = false } = options
  const secret = secretReader(options, process.env)
  const archive = await openArchive({ storage, secret, ringIdentity, anySigner: acceptUnknownSigners, signal })
  for (const warning of archive.warnings) report.warn(warning)
  if (acceptUnknownSigners) report.warn('signatures of manifests are not checked; that they were made with the keys is')
  return archive
}
