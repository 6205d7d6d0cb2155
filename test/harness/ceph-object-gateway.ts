import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { findFreePort } from '@sendense/infra/processes/free-port.ts'
import { type ChildServer, runCommand, startServer } from './child-server.ts'

const START_TIMEOUT_MS = 110_000
const POLL_MS = 100
const MEMORY_BYTES = 2 * 1024 ** 3

export interface CephObjectGateway extends AsyncDisposable {
  readonly endpoint: string
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string }
}

/**
 * A Ceph cluster of one monitor, one manager, one disk in memory and one S3 gateway, in a temporary directory. Takes about
 * twelve seconds. Names begin with the part, so that whoever reads the process table sees whose they are.
 */
export async function startCephObjectGateway(): Promise<CephObjectGateway> {
  const signal = AbortSignal.timeout(START_TIMEOUT_MS)
  const directory = await mkdtemp(path.join(tmpdir(), 'sendense-ceph-'))
  const servers: ChildServer[] = []
  const stop = async (): Promise<void> => {
    for (const server of servers.toReversed()) await server[Symbol.asyncDispose]()
    await rm(directory, { recursive: true, force: true })
  }
  const start = (name: string, ...command: [string, ...string[]]): void => {
    const [program, ...args] = command
    const logFile = path.join(directory, `${name}.out`)
    servers.push(startServer([program, '-c', 'ceph.conf', '-f', ...args], { logFile, cwd: directory }))
  }
  const run = async (program: string, ...args: string[]): Promise<string> =>
    await runCommand(['timeout', '30', program, '-c', 'ceph.conf', ...args], directory)
  try {
    const [monitorPort, gatewayPort] = [await findFreePort(), await findFreePort()]
    const clusterId = randomUUID()
    await writeFile(path.join(directory, 'ceph.conf'), configuration({ directory, monitorPort, clusterId }))
    for (const name of ['mon', 'mgr', 'osd', 'rgw']) await mkdir(path.join(directory, name))
    await makeKeys(directory)
    const monitor = `[v2:127.0.0.1:${monitorPort}]`
    await runCommand(['monmaptool', '--create', '--addv', 'a', monitor, '--fsid', clusterId, 'monmap'], directory)
    await run('ceph-mon', '-i', 'a', '--mkfs', '--monmap', 'monmap', '--keyring', 'keyring')
    start('mon', 'ceph-mon', '-i', 'a')
    const diskId = randomUUID()
    await run('ceph', 'osd', 'new', diskId)
    start('mgr', 'ceph-mgr', '-i', 'a')
    await run('ceph-osd', '-i', '0', '--mkfs', '--osd-uuid', diskId)
    start('osd', 'ceph-osd', '-i', '0')
    await run('ceph', 'osd', 'crush', 'add', 'osd.0', '1', 'root=default', 'host=h')
    start('rgw', 'radosgw', '-n', 'client.admin', '--rgw-frontends', `beast endpoint=127.0.0.1:${gatewayPort}`)
    const credentials = { accessKeyId: 'SENDENSETEST', secretAccessKey: randomUUID() }
    const keys = ['--access-key', credentials.accessKeyId, '--secret-key', credentials.secretAccessKey]
    await run('radosgw-admin', 'user', 'create', '--uid', 'test', '--display-name', 'test', ...keys)
    const endpoint = `http://127.0.0.1:${gatewayPort}`
    await untilAnswers(endpoint, servers, signal)
    return { endpoint, credentials, [Symbol.asyncDispose]: stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function makeKeys(directory: string): Promise<void> {
  const everything = ['--cap', 'mon', 'allow *', '--cap', 'osd', 'allow *', '--cap', 'mgr', 'allow *']
  const keys: readonly (readonly string[])[] = [
    ['--create-keyring', 'keyring', '--gen-key', '-n', 'mon.', '--cap', 'mon', 'allow *'],
    ['keyring', '--gen-key', '-n', 'client.admin', ...everything],
    ['keyring', '--gen-key', '-n', 'mgr.a', '--cap', 'mon', 'allow profile mgr', '--cap', 'osd', 'allow *'],
    ['keyring', '--gen-key', '-n', 'osd.0', '--cap', 'mon', 'allow profile osd', '--cap', 'osd', 'allow *'],
  ]
  for (const key of keys) await runCommand(['ceph-authtool', ...key], directory)
}

async function untilAnswers(endpoint: string, servers: readonly ChildServer[], signal: AbortSignal): Promise<void> {
  for (;;) {
    try {
      const answer = await fetch(endpoint, { signal })
      await answer.arrayBuffer()
      return
    } catch {
      for (const server of servers) await server.expectRunning()
      await delay(POLL_MS, undefined, { signal })
    }
  }
}

/** With authentication off, Ceph 16 hangs for minutes: cephx everywhere. */
function configuration(facts: { directory: string; monitorPort: number; clusterId: string }): string {
  const { directory, monitorPort, clusterId } = facts
  return `[global]
fsid = ${clusterId}
mon initial members = a
mon host = v2:127.0.0.1:${monitorPort}
public network = 127.0.0.0/8
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = ${directory}/keyring
run dir = ${directory}
log file = ${directory}/$name.log
admin socket = ${directory}/$name.asok
pid file =
mon data = ${directory}/mon
mgr data = ${directory}/mgr
osd data = ${directory}/osd
rgw data = ${directory}/rgw
osd objectstore = memstore
memstore device bytes = ${MEMORY_BYTES}
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 1000
mgr initial modules =
`
}
