import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { checkImports } from './check-imports.ts'

let directory: string

beforeEach(async () => {
  directory = await realpath(await mkdtemp(path.join(tmpdir(), 'sendense-imports-')))
})

afterEach(async () => await rm(directory, { recursive: true, force: true }))

/** Lays out files that import others, by path, and returns what the rules have against them. */
async function violations(files: Readonly<Record<string, readonly string[]>>): Promise<readonly string[]> {
  for (const [file, imports] of Object.entries(files)) {
    await mkdir(path.join(directory, path.dirname(file)), { recursive: true })
    const lines = imports.map((target, index) => {
      const relative = path.relative(path.dirname(file), target)
      return `import { a as a${index} } from '${relative.startsWith('.') ? relative : `./${relative}`}'; void a${index}`
    })
    await writeFile(path.join(directory, file), [...lines, 'export const a = 1', ''].join('\n'))
  }
  const folders = new Set(Object.keys(files).map((file) => file.split('/')[0] ?? ''))
  return (await checkImports(directory, [...folders])).violations
}

test.each([
  ['a workspace that may not', 'shared/domain/x.ts', 'cloud/db/y.ts'],
  ['agent and cloud meeting anywhere but in shared', 'edge-agent/jobs/x.ts', 'cloud/fleet/y.ts'],
  ['code of the cloud in the portal', 'dashboard/lib/x.ts', 'cloud/api/y.ts'],
  ['tests in code', 'cloud/api/x.ts', 'cloud/api/y.test.ts'],
  ['upwards inside the agent', 'edge-agent/block/x.ts', 'edge-agent/jobs/y.ts'],
  ['a neighbour on the same level of the agent', 'edge-agent/restore/x.ts', 'edge-agent/backup/y.ts'],
  ['the wiring from below', 'edge-agent/mover/x.ts', 'edge-agent/main.ts'],
  ['a platform in the catalogue', 'edge-agent/catalog/x.ts', 'edge-agent/platforms/y.ts'],
  ['one driver in another', 'edge-agent/platforms/kvm/x.ts', 'edge-agent/platforms/memory/y.ts'],
])('refuses %s', async (_what, from, to) => {
  expect(await violations({ [from]: [to], [to]: [] })).toHaveLength(1)
})

test('refuses cycles and imports that lead nowhere', async () => {
  const found = await violations({
    'cloud/db/x.ts': ['cloud/db/y.ts'],
    'cloud/db/y.ts': ['cloud/db/x.ts', 'cloud/db/gone.ts'],
  })
  expect(new Set(found.map((line) => line.split(':', 1)[0]))).toEqual(new Set(['imports-resolve', 'no-cycles']))
})

test('allows what goes downwards, and tests to reach further', async () => {
  const allowed = {
    'edge-agent/main.ts': ['edge-agent/jobs/job.ts'],
    'edge-agent/config.ts': [],
    'edge-agent/cli/main.ts': ['edge-agent/config.ts'],
    'edge-agent/jobs/job.ts': [
      'edge-agent/catalog/store.ts',
      'edge-agent/platforms/connector.ts',
      'shared/domain/id.ts',
    ],
    'edge-agent/platforms/kvm/kvm.ts': ['edge-agent/platforms/connector.ts', 'edge-agent/qemu/qmp.ts'],
    'edge-agent/platforms/kvm/kvm.test.ts': ['edge-agent/platforms/memory/memory.ts'],
    'edge-agent/platforms/memory/memory.ts': [],
    'edge-agent/platforms/connector.ts': [],
    'edge-agent/catalog/store.ts': [],
    'edge-agent/qemu/qmp.ts': [],
    'shared/domain/id.ts': [],
    'test/e2e/all.ts': ['edge-agent/main.ts'],
  }
  expect(await violations(allowed)).toEqual([])
})
