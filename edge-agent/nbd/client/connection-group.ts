import assert from 'node:assert/strict'
import { isPlatformError, PlatformError, toPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import { retryDelayMs } from '@sendense/shared/runtime/retry-delay.ts'
import type { NbdReconnect } from '../../block/block-endpoint.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { StatusRun } from '../wire/block-status.ts'
import { NBD_CMD_FLAG_FUA, NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_WRITE } from '../wire/nbd-constants.ts'
import { ConnectionSlots, type SlotOwner } from './connection-slots.ts'
import type { NbdSession } from './handshake.ts'
import type { NbdAnswer, NbdRequest } from './in-flight-request.ts'
import type { NbdRequester } from './nbd-requester.ts'
import { isWriting } from './request-rules.ts'
import { expectSameExport } from './same-export.ts'
import type { WriteLedger } from './write-ledger.ts'

const REDIAL_BASE_MS = 100
const REDIAL_CAP_MS = 5000
/** A server that had no room for one more connection is asked again after a while, and more and more seldom. */
const GROW_AGAIN = { baseMs: 10_000, capMs: 120_000 }
/** What a request counts that carries no data. */
const BARE_REQUEST_BYTES = 4096
/** The connection is gone; what was asked on it may be asked on another. */
const LOSSES: ReadonlySet<string> = new Set(['nbd.disconnected', 'nbd.timeout'])
/** The server did answer. */
const ANSWERS: ReadonlySet<string> = new Set(['nbd.io_failed', 'nbd.no_space'])
/** A server that is just starting may say these, and later another thing. */
const REDIAL_AGAIN: ReadonlySet<string> = new Set([...LOSSES, 'nbd.export_not_found'])

/** A lost connection was replaced by another one. */
export interface NbdReconnected {
  /** Why the connection was lost. */
  readonly cause: PlatformError
  /** How often it was dialled. */
  readonly attempts: number
  readonly outageMs: number
}

export interface ConnectionGroupOptions {
  /** For messages. */
  readonly name: string
  /** Opens one connection to the export. `onLost` is called once when it fails, before its requests are rejected. */
  readonly dial: (call: CallOptions & { readonly onLost: (error: PlatformError) => void }) => Promise<NbdRequester>
  /** Connections at most, by what the server said in the first one. */
  readonly connectionsMax: (session: NbdSession) => number
  /** Requests that one connection works on at once: when all have so many, another one is opened. */
  readonly inFlightMax: number
  readonly reconnect: NbdReconnect
  /** The first connection is dialled like a lost one: its way may be cut just now. */
  readonly patientFirst?: boolean
  /** Of a sink: it decides whether writes may be lost with a connection. Absent: nothing is written. */
  readonly ledger?: WriteLedger
  /** Must not throw. */
  readonly onReconnect?: ((event: NbdReconnected) => void) | undefined
  readonly clock: Clock
  readonly random: () => number
}

interface Member extends SlotOwner {
  readonly connection: NbdRequester
  /** From this connection's context ids to the group's; absent: they are the same. */
  readonly contextIds: ReadonlyMap<number, number> | undefined
}

interface Outage {
  readonly sinceMs: number
  readonly cause: PlatformError
  attempts: number
  /** Of the last attempt. */
  lastError: PlatformError
}

/**
 * Connections to one export that stand in for each other. A request goes to the one with the fewest bytes in flight; where
 * all are busy another one is opened, up to the maximum.
 *
 * When one is lost, what was in flight on it is sent again on another, or on a new one that is dialled for it. With
 * nothing but reads that is all. Writes that may be lost with it end the group with `nbd.writes_uncertain`, as soon as
 * the server answers again. What ends the group ends all later requests too: an outage that takes too long with the error
 * of its last attempt, another disk under the same name with `nbd.export_changed`, a server that breaks the protocol.
 */
export class ConnectionGroup implements NbdRequester {
  readonly session: NbdSession
  readonly #options: ConnectionGroupOptions
  readonly #connectionsMax: number
  readonly #members: ConnectionSlots<Member>
  /** Connections on their way out. */
  readonly #leaving = new Set<Promise<void>>()
  readonly #closing = new AbortController()
  #failure: PlatformError | undefined
  /** From the loss of the last connection until the next answer. */
  #outage: Outage | undefined
  #redialing: Promise<void> | undefined
  /** Until one more connection is open; where that failed, until it may be tried again. */
  #growing: Promise<void> | undefined
  /** In a row. */
  #growthFailures = 0
  /** Set when writes may have been lost. */
  #uncertainty: PlatformError | undefined

  private constructor(options: ConnectionGroupOptions, session: NbdSession) {
    this.#options = options
    this.session = session
    this.#connectionsMax = options.connectionsMax(session)
    this.#members = new ConnectionSlots(options.inFlightMax)
  }

  /** Opens the first connection; where that fails it is dialled again only if `patientFirst` says so. */
  static async open(options: ConnectionGroupOptions, { signal }: CallOptions): Promise<ConnectionGroup> {
    const { loss, connection } = await dialFirst(options, signal)
    const group = new ConnectionGroup(options, connection.session)
    group.#admit(connection, loss)
    return group
  }

  async request(request: NbdRequest): Promise<NbdAnswer> {
    const bytes = request.command === NBD_CMD_READ || request.command === NBD_CMD_WRITE ? request.lengthBytes : 0
    const weight = bytes + BARE_REQUEST_BYTES
    let resends = 0
    for (;;) {
      request.signal.throwIfAborted()
      if (this.#failure !== undefined) throw this.#failure
      const given = this.#members.acquire(weight, request.signal)
      if (given instanceof Promise) this.#attendWaiting()
      const member = given instanceof Promise ? await given : given
      try {
        const answer = await this.#sendOn(member, request, resends)
        if (answer !== undefined) return answer
      } finally {
        this.#members.release(member, weight)
      }
      resends += 1
    }
  }

  /** Ends all connections in order; requests still in flight reject with `nbd.disconnected`. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new PlatformError('nbd.disconnected', `the connection to ${this.#options.name} was closed`)
    this.#failure ??= closed
    this.#closing.abort(closed)
    this.#members.rejectAll(closed)
    for (const member of this.#members.owners) this.#lose(member, closed)
    await Promise.allSettled([this.#redialing, this.#growing])
    await Promise.allSettled(this.#leaving)
  }

  /** Undefined: the connection was lost, and the request may be sent again. */
  async #sendOn(member: Member, request: NbdRequest, resends: number): Promise<NbdAnswer | undefined> {
    try {
      const { connection } = member
      const { ledger } = this.#options
      const sent = ledger === undefined ? connection.request(request) : noted(ledger, connection, request)
      const answer = await sent
      this.#noteAnswer()
      return translate(answer, member.contextIds)
    } catch (error) {
      request.signal.throwIfAborted()
      if (!isPlatformError(error)) throw error
      if (error.code === 'nbd.protocol_violation') this.#fail(error)
      if (ANSWERS.has(error.code)) this.#noteAnswer()
      if (!LOSSES.has(error.code)) throw error
      this.#lose(member, error)
      if (resends < this.#options.reconnect.attemptsMax) return undefined
      throw this.#failure ?? error
    }
  }

  /** An answer that came just before the last connection was lost ends no outage. */
  #noteAnswer(): void {
    if (this.#members.ownerCount > 0) this.#outage = undefined
  }

  /** Somebody waits for a slot: there is no connection, or all are busy. */
  #attendWaiting(): void {
    if (this.#members.ownerCount > 0) this.#grow()
    else this.#revive()
  }

  #grow(): void {
    if (this.#growing !== undefined || this.#members.ownerCount >= this.#connectionsMax) return
    this.#growing = this.#growOnce().finally(() => {
      this.#growing = undefined
      if (this.#members.waitingCount > 0) this.#attendWaiting()
    })
  }

  /** Never rejects. Resolves when another connection may be opened. */
  async #growOnce(): Promise<void> {
    try {
      await this.#connect()
      this.#growthFailures = 0
    } catch {
      const { clock, random } = this.#options
      const delayMs = retryDelayMs(this.#growthFailures, { ...GROW_AGAIN, random })
      this.#growthFailures += 1
      await clock.sleep(delayMs, { signal: this.#closing.signal }).catch(() => undefined)
    }
  }

  /** Opens one more connection, to the same export. */
  async #connect(): Promise<void> {
    const loss = new LossListener()
    const { dial, name } = this.#options
    const connection = await dial({ signal: this.#closing.signal, onLost: (error) => loss.tell(error) })
    try {
      this.#closing.signal.throwIfAborted()
      expectSameExport(this.session, connection.session, name)
    } catch (error) {
      this.#dismiss(connection)
      throw error
    }
    this.#admit(connection, loss)
  }

  #admit(connection: NbdRequester, loss: LossListener): void {
    const contextIds = idsInGroup(connection.session, this.session)
    const member = { connection, contextIds, bytesInFlight: 0, requestsInFlight: 0 }
    if (this.#uncertainty !== undefined) this.#fail(this.#uncertainError(this.#uncertainty))
    this.#members.add(member)
    loss.listen((error) => this.#lose(member, error))
  }

  #lose(member: Member, cause: PlatformError): void {
    if (!this.#members.remove(member)) return
    this.#dismiss(member.connection)
    const { reconnect, ledger, clock } = this.#options
    if (this.#failure !== undefined) return
    if (reconnect.attemptsMax === 0 || !LOSSES.has(cause.code)) {
      this.#fail(cause)
      return
    }
    if (ledger?.isUncertain === true) this.#uncertainty ??= cause
    if (this.#members.ownerCount === 0) {
      this.#outage ??= { sinceMs: clock.now().getTime(), cause, attempts: 0, lastError: cause }
      if (this.#members.waitingCount > 0) this.#revive()
    } else if (this.#uncertainty !== undefined) {
      this.#fail(this.#uncertainError(this.#uncertainty))
    }
  }

  /** Dials until there is a connection again, or the group has ended: one for all who wait. */
  #revive(): void {
    this.#redialing ??= this.#redial().finally(() => {
      this.#redialing = undefined
      if (this.#members.waitingCount > 0) this.#attendWaiting()
    })
  }

  async #redial(): Promise<void> {
    const outage = this.#outage
    assert(outage !== undefined, 'without a connection there is an outage')
    const { reconnect, clock, random, onReconnect } = this.#options
    const { signal } = this.#closing
    const outageMs = (): number => clock.now().getTime() - outage.sinceMs
    while (this.#members.ownerCount === 0 && this.#failure === undefined) {
      if (outage.attempts >= reconnect.attemptsMax || outageMs() >= reconnect.forMs) {
        this.#fail(outage.lastError)
        return
      }
      const delayMs = retryDelayMs(outage.attempts, { baseMs: REDIAL_BASE_MS, capMs: REDIAL_CAP_MS, random })
      try {
        await clock.sleep(delayMs, { signal })
        outage.attempts += 1
        await this.#connect()
      } catch (error) {
        const known = toPlatformError(error)
        if (signal.aborted || !REDIAL_AGAIN.has(known.code)) this.#fail(known)
        outage.lastError = known
      }
    }
    if (this.#failure !== undefined) return
    onReconnect?.({ cause: outage.cause, attempts: outage.attempts, outageMs: outageMs() })
  }

  #uncertainError(cause: PlatformError): PlatformError {
    const message = `the connection to ${this.#options.name} was lost with writes that were not flushed`
    return new PlatformError('nbd.writes_uncertain', message, { cause })
  }

  /** Ends the group, the first time. */
  #fail(error: PlatformError): void {
    this.#failure ??= error
    this.#members.rejectAll(this.#failure)
  }

  #dismiss(connection: NbdRequester): void {
    const leave = async (): Promise<void> => {
      await Promise.allSettled([connection[Symbol.asyncDispose]()])
      this.#leaving.delete(leaving)
    }
    const leaving = leave()
    this.#leaving.add(leaving)
  }
}

async function dialFirst(
  { dial, reconnect, patientFirst = false, clock, random }: ConnectionGroupOptions,
  signal: AbortSignal,
): Promise<{ readonly loss: LossListener; readonly connection: NbdRequester }> {
  const giveUpMs = clock.now().getTime() + reconnect.forMs
  for (let attempts = 0; ; attempts += 1) {
    const loss = new LossListener()
    try {
      return { loss, connection: await dial({ signal, onLost: (error) => loss.tell(error) }) }
    } catch (error) {
      const isOver = attempts >= reconnect.attemptsMax || clock.now().getTime() >= giveUpMs
      if (!patientFirst || isOver || !isPlatformError(error) || !LOSSES.has(error.code)) throw error
      const delayMs = retryDelayMs(attempts, { baseMs: REDIAL_BASE_MS, capMs: REDIAL_CAP_MS, random })
      await clock.sleep(delayMs, { signal })
    }
  }
}

/** Sends a request and keeps the ledger of it. */
async function noted(ledger: WriteLedger, connection: NbdRequester, request: NbdRequest): Promise<NbdAnswer> {
  if (request.command === NBD_CMD_FLUSH) {
    const mark = ledger.mark()
    const answer = await connection.request(request)
    ledger.flushed(mark)
    return answer
  }
  if (!isWriting(request.command)) return await connection.request(request)
  let isDurable = false
  ledger.sent()
  try {
    const answer = await connection.request(request)
    isDurable = ((request.commandFlags ?? 0) & NBD_CMD_FLAG_FUA) !== 0
    return answer
  } finally {
    ledger.finished({ isDurable })
  }
}

/** Tells of the loss of a connection, also when it came before anybody listened. */
class LossListener {
  #error: PlatformError | undefined
  #onLost: ((error: PlatformError) => void) | undefined

  tell(error: PlatformError): void {
    this.#error = error
    this.#onLost?.(error)
  }

  listen(onLost: (error: PlatformError) => void): void {
    this.#onLost = onLost
    if (this.#error !== undefined) onLost(this.#error)
  }
}

function idsInGroup(own: NbdSession, group: NbdSession): ReadonlyMap<number, number> | undefined {
  const pairs = [...own.contextIds].map(([name, id]): [number, number] => [id, group.contextIds.get(name) ?? id])
  return pairs.every(([from, to]) => from === to) ? undefined : new Map(pairs)
}

function translate(answer: NbdAnswer, contextIds: ReadonlyMap<number, number> | undefined): NbdAnswer {
  if (contextIds === undefined || answer.size === 0) return answer
  return new Map([...answer].map(([id, runs]): [number, readonly StatusRun[]] => [contextIds.get(id) ?? id, runs]))
}
