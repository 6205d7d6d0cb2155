import { statfs } from 'node:fs/promises'
import path from 'node:path'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import type { CallOptions } from '../object-store.ts'
import { probe, type ProbedCapability, type ProbeFinding, type ProbeOutcome } from '../store-probe.ts'
import { boundedFiles } from './bounded-files.ts'
import { toLocalError } from './local-errors.ts'
import { expectMounted, type MountExpectation } from './mount-guard.ts'
import { kernelFiles } from './store-files.ts'

const TIMEOUT_MS = 30_000
const LITTLE_SPACE_BYTES = 10 * 1024 ** 3

/** statfs(2), "f_type", for file systems that say something about durability or locks. */
const FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0xef53, 'ext4'],
  [0x58465342, 'XFS'],
  [0x9123683e, 'Btrfs'],
  [0x6969, 'NFS'],
  [0xff534d42, 'SMB'],
  [0xfe534d42, 'SMB'],
  [0x65735546, 'FUSE'],
  [0x01021994, 'memory (tmpfs)'],
  [0x794c7630, 'overlay'],
  [0x2fc12fc1, 'ZFS'],
])

type Found = Omit<ProbeFinding, 'capability'>

/** What a directory is good for: whether it is mounted, on what, and how much room there is. Changes nothing. */
export async function probeDirectory(expected: MountExpectation, signal: AbortSignal): Promise<ProbeFinding[]> {
  const files = boundedFiles(kernelFiles, { callsMax: 2, timeoutMs: TIMEOUT_MS })
  const bounded = { signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]) }
  const directory = path.resolve(expected.directory)
  const trials: [ProbedCapability, () => Promise<Found>][] = [
    [
      'mount',
      async () => {
        await expectMounted(files, { ...expected, directory }, bounded)
        const here = await files.stat(directory, bounded)
        const root = await files.stat('/', bounded)
        return here.device === root.device
          ? found('absent', 'the directory is on the system’s own disk')
          : found('works', 'the directory is on a file system of its own')
      },
    ],
    ['file-system', async () => tellFileSystem((await untilAborted(statfs(directory), bounded.signal)).type)],
    [
      'free-space',
      async () => {
        const { bavail, bsize } = await untilAborted(statfs(directory), bounded.signal)
        const freeBytes = bavail * bsize
        const outcome = freeBytes < LITTLE_SPACE_BYTES ? 'wrong' : 'works'
        return found(outcome, `${formatByteSize(freeBytes)} are free`)
      },
    ],
    [
      'object-lock',
      async () =>
        found('absent', 'retentions are kept by this software alone: root on this machine can delete everything'),
    ],
  ]
  const findings: ProbeFinding[] = []
  for (const [capability, work] of trials) findings.push(await probe(capability, signal, work))
  return findings
}

function tellFileSystem(type: number): Found {
  const name = FILE_SYSTEMS.get(type)
  if (name === undefined) return found('unknown', `a file system of type 0x${type.toString(16)}`)
  if (name.startsWith('memory')) return found('wrong', 'it is in memory: nothing outlives a restart')
  return found('works', name)
}

function found(outcome: ProbeOutcome, detail: string): Found {
  return { outcome, detail }
}

/** Rejects unless the directory is there, and mounted where that is asked for. */
export async function expectMountPoint(expected: MountExpectation, { signal }: CallOptions): Promise<void> {
  const files = boundedFiles(kernelFiles, { callsMax: 1, timeoutMs: TIMEOUT_MS })
  const directory = path.resolve(expected.directory)
  try {
    await expectMounted(files, { ...expected, directory }, { signal })
  } catch (error) {
    throw toLocalError(error, `looking at ${directory}`)
  }
}
