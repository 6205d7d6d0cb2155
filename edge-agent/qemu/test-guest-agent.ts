import { z } from 'zod'
import { TestLineServer } from './test-line-server.ts'

const Command = z.object({ execute: z.string(), arguments: z.record(z.string(), z.unknown()).optional() })

/** A guest agent of this process, for tests: two file systems, and a log of what it was asked. */
export class TestGuestAgent implements AsyncDisposable {
  readonly log: string[] = []
  frozen = false
  /** Commands that are answered with an error. */
  readonly refused = new Set<string>()
  /** Commands that it does not know, or that its configuration disables. */
  readonly disabled = new Set<string>()
  /** Commands that it takes and never answers. */
  readonly unanswered = new Set<string>()
  /** Connections that are cut at their first command. */
  cuts = 0
  #server: TestLineServer | undefined

  /** Listens at `path`, or at one of its own. */
  static async open(path?: string): Promise<TestGuestAgent> {
    const agent = new TestGuestAgent()
    agent.#server = await TestLineServer.open({
      ...(path === undefined ? {} : { path }),
      handle: (line, reply, socket) => {
        if (agent.cuts > 0) {
          agent.cuts--
          socket.destroy()
        } else {
          const answer = agent.#answer(line)
          if (answer !== undefined) reply(answer)
        }
      },
    })
    return agent
  }

  get path(): string {
    return this.#server?.path ?? ''
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]()
  }

  #answer(line: string): string | undefined {
    const { execute, arguments: args } = Command.parse(JSON.parse(line))
    if (execute === 'guest-sync-delimited') return `\u00FF{"return": ${String(args?.['id'])}}\n`
    this.log.push(execute)
    if (this.refused.has(execute)) return '{"error": {"class": "GenericError", "desc": "no"}}\n'
    if (this.disabled.has(execute)) return '{"error": {"class": "CommandNotFound", "desc": "disabled"}}\n'
    if (execute === 'guest-fsfreeze-status') return `{"return": "${this.frozen ? 'frozen' : 'thawed'}"}\n`
    this.frozen = execute === 'guest-fsfreeze-freeze'
    return this.unanswered.has(execute) ? undefined : '{"return": 2}\n'
  }
}
