import { randomBytes } from 'node:crypto'
import { runCommand } from '@sendense/infra/processes/run-command.ts'

const options = () => ({ signal: AbortSignal.timeout(20_000) })
const asRoot = process.getuid?.() === 0 ? [] : ['sudo', '-n']
const asSelf = process.getuid?.() === 0 ? [] : ['sudo', '-n', '-u', `#${process.getuid?.() ?? 0}`]

/**
 * A machine of its own, as the network sees it: a network namespace that a wire joins with this one. Needs root, or sudo
 * without a password.
 */
export class HostNamespace implements AsyncDisposable {
  /** Of this side. */
  readonly hereAddress: string
  readonly #name: string
  readonly #wire: string

  private constructor() {
    const id = randomBytes(3).toString('hex')
    this.#name = `sendense-${id}`
    this.#wire = `sd${id}`
    const [high = 0, low = 0] = randomBytes(2)
    // RFC 2544's network for tests between devices; a /30 of it.
    this.hereAddress = `198.18.${high}.${(low & 0xfc) + 1}`
  }

  static async open(): Promise<HostNamespace> {
    const made = new HostNamespace()
    const there = made.hereAddress.replace(/\d+$/, (last) => String(Number(last) + 1))
    await ip('netns', 'add', made.#name)
    try {
      await ip('link', 'add', made.#wire, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', made.#name)
      await ip('addr', 'add', `${made.hereAddress}/30`, 'dev', made.#wire)
      await ip('link', 'set', made.#wire, 'up')
      await ip('-n', made.#name, 'addr', 'add', `${there}/30`, 'dev', 'eth0')
      for (const device of ['lo', 'eth0']) await ip('-n', made.#name, 'link', 'set', device, 'up')
    } catch (error) {
      await made[Symbol.asyncDispose]()
      throw error
    }
    return made
  }

  /** What to run for a command to run over there, as the same user. */
  command(...command: string[]): { readonly file: string; readonly args: string[] } {
    const [file = '', ...args] = [...asRoot, 'ip', 'netns', 'exec', this.#name, ...asSelf, ...command]
    return { file, args }
  }

  async run(...command: string[]): Promise<string> {
    const { file, args } = this.command(...command)
    return await runCommand(file, args, { signal: AbortSignal.timeout(120_000) })
  }

  /** The wire is pulled, and nobody is told. */
  async unplug(): Promise<void> {
    await ip('link', 'set', this.#wire, 'down')
  }

  async plugIn(): Promise<void> {
    await ip('link', 'set', this.#wire, 'up')
  }

  /** Whatever still runs over there keeps running, without a network. */
  async [Symbol.asyncDispose](): Promise<void> {
    await ip('netns', 'del', this.#name)
  }
}

async function ip(...args: string[]): Promise<void> {
  const [file = '', ...rest] = [...asRoot, 'ip', ...args]
  await runCommand(file, rest, options())
}
