import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'

const program = join(import.meta.dirname, 'sendense-edge.mjs')
const SAYS_20 = `data:text/javascript,Object.defineProperty(process.versions,'node',{value:'20.1.0'})`
/** Nodes that people may have, by their arguments; the machine's own only where it has one. */
const NODES: Readonly<Record<string, readonly string[]>> = {
  'the Node of the repository': [process.execPath],
  'one that says it is Node 20': [process.execPath, '--import', SAYS_20],
  ...(existsSync('/usr/bin/node') ? { "the machine's own": ['/usr/bin/node'] } : {}),
}

function start([node = '', ...flags]: readonly string[], args: readonly string[]) {
  // As npx would, from a shell without the repository's Node on its path.
  const child = spawn(node, [...flags, program, ...args], { env: { PATH: '/usr/bin:/bin' } })
  const ended = once(child, 'close').then(() => child.exitCode)
  return { child, ended, said: text(child.stdout), complained: text(child.stderr) }
}

describe.each(Object.entries(NODES))('sendense-edge started by %s', (_, node) => {
  test('gets its arguments, and passes on what it says and how it ends', async () => {
    const helped = start(node, ['copy', '--help'])
    expect(await helped.said).toContain('sendense-edge copy')
    expect(await helped.ended).toBe(0)
    const failed = start(node, ['nbd', 'list', 'nbd+unix:///?socket=/nobody.sock'])
    expect(await failed.complained).toMatch(/^nbd\.disconnected: /)
    expect(await failed.ended).toBe(1)
  })

  test.each(['SIGTERM', 'SIGINT'] as const)('is ended in order by %s', async (signal) => {
    const dir = await mkdtemp(join(tmpdir(), 'sd-bin-'))
    try {
      const [disk, socket] = [join(dir, 'disk.raw'), join(dir, 's')]
      await writeFile(disk, Buffer.alloc(65_536))
      const serving = start(node, ['serve', disk, '--unix', socket])
      await expect.poll(() => existsSync(socket), { timeout: 30_000 }).toBe(true)
      serving.child.kill(signal)
      expect(await serving.ended).toBe(0)
      expect(existsSync(socket)).toBe(false)
    } finally {
      await rm(dir, { recursive: true })
    }
  })
})

test('where the repository has no Node yet, it is said what to do', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'sd-bin-'))
  try {
    const launcher = join(import.meta.dirname, '../../shared/runtime/launch-program.mjs')
    const bare = join(dir, 'bare.mjs')
    const call = `await launchProgram({ name: 'bare', main: ${JSON.stringify(join(dir, 'main.ts'))} })`
    await writeFile(bare, `import { launchProgram } from ${JSON.stringify(launcher)}\n${call}\n`)
    const child = spawn(process.execPath, ['--import', SAYS_20, bare])
    const [complained] = await Promise.all([text(child.stderr), once(child, 'close')])
    expect(complained).toBe('bare needs Node 24.12 or newer, this is 20.1.0. Run: npm run setup\n')
    expect(child.exitCode).toBe(2)
  } finally {
    await rm(dir, { recursive: true })
  }
})
