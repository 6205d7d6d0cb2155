import { existsSync, linkSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { watchSyncs } from './watch-syncs.ts'

type Entries = ReadonlyMap<string, { readonly inode: number; readonly isDirectory: boolean }>

/**
 * For tests: what a power cut may leave of a directory that this process writes to. Of a file only what fsync(2) was
 * called for is kept for certain, of names only what was in a directory when it was synced; what came later survives or
 * not, file by file, as `choose` says, and content that was never synced is cut short.
 *
 * Files must not be changed after they were synced; each file is kept by a link, so that no inode is used twice.
 */
export class PowerCut implements Disposable {
  readonly #dir: string
  readonly #keepDir: string
  readonly #names = new Map<string, Entries>()
  readonly #contents = new Map<number, Buffer>()
  #watch: Disposable | undefined

  private constructor(dir: string, keepDir: string) {
    this.#dir = dir
    this.#keepDir = keepDir
  }

  /** All that is in `dir` now counts as durable. */
  static async watch(dir: string): Promise<PowerCut> {
    const keepDir = await mkdtemp(join(dirname(dir), 'kept-'))
    const cut = new PowerCut(dir, keepDir)
    cut.#noteTree(dir)
    cut.#watch = await watchSyncs((path) => cut.#note(path))
    return cut
  }

  /** Makes `target` what is there after the power is back. */
  leave(target: string, choose: () => boolean): void {
    this.#leaveDirectory(this.#dir, target, choose)
  }

  [Symbol.dispose](): void {
    this.#watch?.[Symbol.dispose]()
  }

  #noteTree(dir: string): void {
    this.#note(dir)
    for (const [name, entry] of entriesOf(dir)) {
      if (entry.isDirectory) this.#noteTree(join(dir, name))
      else this.#note(join(dir, name))
    }
  }

  #note(path: string): void {
    if (relative(this.#dir, path).startsWith('..')) return
    const facts = statSync(path)
    if (facts.isDirectory()) {
      this.#names.set(path, entriesOf(path))
      return
    }
    this.#contents.set(facts.ino, readFileSync(path))
    const kept = join(this.#keepDir, String(facts.ino))
    if (!existsSync(kept)) linkSync(path, kept)
  }

  #leaveDirectory(source: string, target: string, choose: () => boolean): void {
    mkdirSync(target, { recursive: true })
    const durable: Entries = this.#names.get(source) ?? new Map()
    const now = entriesOf(source)
    for (const name of new Set([...durable.keys(), ...now.keys()])) {
      const [before, after] = [durable.get(name), now.get(name)]
      const entry = before?.inode === after?.inode || choose() ? after : before
      if (entry === undefined) continue
      const [from, to] = [join(source, name), join(target, name)]
      if (entry.isDirectory) this.#leaveDirectory(from, to, choose)
      else writeFileSync(to, this.#contents.get(entry.inode) ?? cutShort(from))
    }
  }
}

function cutShort(path: string): Buffer {
  const content = existsSync(path) ? readFileSync(path) : Buffer.alloc(0)
  return content.subarray(0, content.length / 2)
}

function entriesOf(dir: string): Entries {
  if (!existsSync(dir)) return new Map()
  return new Map(
    readdirSync(dir).map((name) => {
      const facts = statSync(join(dir, name))
      return [name, { inode: facts.ino, isDirectory: facts.isDirectory() }]
    }),
  )
}
