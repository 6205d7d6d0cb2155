import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { NbdEndpoint } from '@sendense/edge-agent/block/block-endpoint.ts'

/** Runs a peer to its end. Rejects when it does not end well. */
export async function runPeer(command: string, args: readonly string[]): Promise<void> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${String(code)}`)
}

/** The address of an export on a unix socket as libnbd and QEMU write it (NBD uri.md). */
export function nbdUri({ address, exportName }: NbdEndpoint): string {
  if (address.transport !== 'unix') throw new Error('peers are measured over unix sockets')
  return `nbd+unix:///${exportName}?socket=${address.path}`
}
