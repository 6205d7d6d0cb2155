import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { createInterface } from 'node:readline'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { makeTestDir, qemuImg, type RealServer, startNbdkit, startQemuNbd } from '../nbd/client/real-nbd-server.ts'
import { formatNbdUri } from '../nbd/nbd-uri.ts'

const MIB = 1024 * 1024
const SIZE_BYTES = 24 * MIB
const main = join(import.meta.dirname, 'main.ts')
const Line = z.looseObject({ event: z.string(), offsetBytes: z.number().optional(), readBytes: z.number().optional() })
type Line = z.infer<typeof Line>

interface Ended {
  readonly exitCode: number | null
  readonly lines: readonly Line[]
  readonly stderr: string
}

interface Copying extends AsyncDisposable {
  readonly child: ChildProcess
  readonly lines: readonly Line[]
  untilEvent(event: string): Promise<void>
  end(): Promise<Ended>
}

/** `sendense-edge copy --json`, running. */
function copy(...args: readonly string[]): Copying {
  const child = spawn(process.execPath, [main, 'copy', '--json', ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const exited = once(child, 'close')
  const lines: Line[] = []
  let stderr = ''
  let news = Promise.withResolvers<void>()
  let isOver = false
  child.stderr.on('data', (text: Buffer) => (stderr += text.toString()))
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(Line.parse(JSON.parse(line)))
    news.resolve()
  })
  child.once('close', () => {
    isOver = true
    news.resolve()
  })
  return {
    child,
    lines,
    untilEvent: async (event) => {
      while (!lines.some((line) => line.event === event)) {
        if (isOver) throw new Error(`it ended: ${stderr}`)
        await news.promise
        news = Promise.withResolvers<void>()
      }
    },
    end: async () => {
      await exited
      return { exitCode: child.exitCode, lines, stderr }
    },
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
      await exited
    },
  }
}

/** Runs it to its end and resolves with what it complained of. */
async function copyInVain(...args: readonly string[]): Promise<string> {
  return await new Promise((resolve) => {
    execFile(process.execPath, [main, 'copy', ...args], (_error, _stdout, stderr) => resolve(stderr))
  })
}

/** A source full of random data and an empty target, each served by a server that lives on. */
async function makeDisks(dir: string): Promise<AsyncDisposable & { source: string; target: string; content: Buffer }> {
  await using undo = new AsyncDisposableStack()
  const content = randomBytes(SIZE_BYTES)
  await writeFile(join(dir, 'source'), content)
  await writeFile(join(dir, 'target'), '')
  await truncate(join(dir, 'target'), SIZE_BYTES)
  const serve = async (name: string): Promise<string> => {
    const server: RealServer = undo.use(await startQemuNbd(join(dir, name), ['--format=raw']))
    return formatNbdUri(server.endpoint)
  }
  const disks = { source: await serve('source'), target: await serve('target'), content }
  const owned = undo.move()
  return { ...disks, [Symbol.asyncDispose]: async () => await owned.disposeAsync() }
}

describe('sendense-edge copy', () => {
  test('copies a disk with holes and says what it did', async () => {
    await using tmp = await makeTestDir()
    const content = Buffer.concat([Buffer.alloc(4 * MIB), randomBytes(2 * MIB), Buffer.alloc(2 * MIB)])
    await writeFile(join(tmp.dir, 'raw'), content)
    await qemuImg('convert', '-q', '-O', 'qcow2', join(tmp.dir, 'raw'), join(tmp.dir, 'source.qcow2'))
    await writeFile(join(tmp.dir, 'target'), Buffer.alloc(content.length, 0xff))
    await using source = await startQemuNbd(join(tmp.dir, 'source.qcow2'), ['--format=qcow2', '--read-only'])
    await using target = await startQemuNbd(join(tmp.dir, 'target'), ['--format=raw'])
    await using copying = copy(formatNbdUri(source.endpoint), formatNbdUri(target.endpoint))
    const { exitCode, lines, stderr } = await copying.end()
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
    expect(lines.at(-1)).toMatchObject({
      event: 'done',
      readBytes: 2 * MIB,
      writtenBytes: 2 * MIB,
      zeroedBytes: 6 * MIB,
    })
    expect(Buffer.compare(await readFile(join(tmp.dir, 'target')), content)).toBe(0)
  })

  test('killed with -9 again and again it goes on from its checkpoint, and the bytes are right', async () => {
    await using tmp = await makeTestDir()
    await using disks = await makeDisks(tmp.dir)
    const checkpoint = join(tmp.dir, 'checkpoint')
    const how = ['--checkpoint', checkpoint, '--checkpoint-every', '2M', '--rate', '12M', '--target-is-zero']
    let reachedBytes = 0
    for (let kill = 0; kill < 2; kill += 1) {
      await using copying = copy(disks.source, disks.target, ...how)
      await copying.untilEvent('checkpoint')
      copying.child.kill('SIGKILL')
      await copying.end()
      const kept = z.looseObject({ checkpoint: z.looseObject({ offsetBytes: z.number() }) })
      const { offsetBytes } = kept.parse(JSON.parse(await readFile(checkpoint, 'utf8'))).checkpoint
      expect(offsetBytes).toBeGreaterThan(reachedBytes)
      reachedBytes = offsetBytes
    }
    await using last = copy(disks.source, disks.target, ...how.slice(0, 4), '--target-is-zero')
    const { exitCode, lines } = await last.end()
    expect(exitCode).toBe(0)
    expect(lines[0]).toEqual({ event: 'resuming', offsetBytes: reachedBytes })
    expect(lines.at(-1)).toMatchObject({ event: 'done', readBytes: SIZE_BYTES - reachedBytes })
    expect(Buffer.compare(await readFile(join(tmp.dir, 'target')), disks.content)).toBe(0)
    await expect(stat(checkpoint)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('Ctrl-C ends it in order at a checkpoint', async () => {
    await using tmp = await makeTestDir()
    await using disks = await makeDisks(tmp.dir)
    const checkpoint = join(tmp.dir, 'checkpoint')
    await using copying = copy(disks.source, disks.target, '--checkpoint', checkpoint, '--rate', '8M')
    await copying.untilEvent('progress')
    copying.child.kill('SIGINT')
    const { exitCode, lines } = await copying.end()
    expect(exitCode).toBe(130)
    const end = lines.at(-1)
    expect(end).toMatchObject({ event: 'cancelled', state: 'paused' })
    await using again = copy(disks.source, disks.target, '--checkpoint', checkpoint)
    const finished = await again.end()
    expect(finished.exitCode).toBe(0)
    expect(Number(finished.lines.at(-1)?.readBytes) + Number(end?.readBytes)).toBe(SIZE_BYTES)
    expect(Buffer.compare(await readFile(join(tmp.dir, 'target')), disks.content)).toBe(0)
  })

  test('refuses the checkpoint of another copy and what is none', async () => {
    await using tmp = await makeTestDir()
    await using disks = await makeDisks(tmp.dir)
    const checkpoint = join(tmp.dir, 'checkpoint')
    await using copying = copy(
      disks.source,
      disks.target,
      '--checkpoint',
      checkpoint,
      '--checkpoint-every',
      '1M',
      '--rate',
      '8M',
    )
    await copying.untilEvent('checkpoint')
    copying.child.kill('SIGKILL')
    await copying.end()
    await using other = copy(disks.source, 'null:', '--checkpoint', checkpoint)
    const refused = await other.end()
    expect(refused.exitCode).toBe(1)
    expect(refused.stderr).toContain('belongs to another copy')
    await writeFile(checkpoint, '{}')
    await using wrong = copy(disks.source, disks.target, '--checkpoint', checkpoint)
    expect((await wrong.end()).stderr).toContain('is not a checkpoint')
  })

  test('a read error names the disk and the range, and ends with 1', async () => {
    const faults = ['error-pread=EIO', 'error-pread-rate=100%']
    await using broken = await startNbdkit(['--filter=error', 'pattern', String(MIB), ...faults])
    const uri = formatNbdUri(broken.endpoint)
    await using copying = copy(uri, 'null:')
    const { exitCode, stderr, lines } = await copying.end()
    expect(exitCode).toBe(1)
    expect(stderr).toMatch(/^source\.read_failed: disk nbd\+unix:.* from byte 0 .*could not be read in 5 attempts/)
    expect(lines.some(({ event }) => event === 'read-retried')).toBe(true)
  })

  test('says what is wrong with its arguments', async () => {
    expect(await copyInVain('http://example', 'null:')).toContain('input.invalid')
    expect(await copyInVain('nbd://127.0.0.1', 'null:', '--rate', 'fast')).toContain('a size like 4096')
    expect(await copyInVain('nbds://127.0.0.1', 'null:')).toContain('input.invalid')
  })
})
