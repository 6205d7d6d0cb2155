import { errorCodeList } from '@sendense/shared/errors/error-codes.ts'
import { z } from 'zod'

/** Between the server and a process that runs SSH connections for it. `sessionId` is the server's name for one. */
const SessionId = z.int().nonnegative()
const Port = z.int().min(1).max(65_535)
const Milliseconds = z.int().positive()

export const SessionOrder = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('start'),
    /** PEM. */
    hostKey: z.string(),
    limits: z.strictObject({
      loginMs: Milliseconds,
      loginAttemptsMax: z.int().positive(),
      refusalsMax: z.int().positive(),
      channelsMax: z.int().positive(),
    }),
    times: z.strictObject({
      handshakeMs: Milliseconds,
      keepaliveMs: Milliseconds,
      keepaliveMisses: z.int().positive(),
      rekeyBytes: z.int().positive(),
    }),
  }),
  /** A connection of a capture agent comes along. */
  z.strictObject({ type: z.literal('accept'), sessionId: SessionId }),
  z.strictObject({
    type: z.literal('login-answer'),
    sessionId: SessionId,
    /** Granted; absent: the log-in is declined. */
    ports: z.array(Port).optional(),
  }),
  z.strictObject({ type: z.literal('forward-answer'), sessionId: SessionId, port: Port, isDone: z.boolean() }),
  /** A connection to that forwarded port comes along. */
  z.strictObject({ type: z.literal('open'), sessionId: SessionId, port: Port }),
  z.strictObject({ type: z.literal('close'), sessionId: SessionId, why: z.string() }),
])
export type SessionOrder = z.infer<typeof SessionOrder>

export const SessionReport = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('login'),
    sessionId: SessionId,
    userName: z.string(),
    fingerprint: z.string(),
    publicKey: z.string(),
  }),
  z.strictObject({ type: z.literal('forward'), sessionId: SessionId, port: Port, wanted: z.boolean() }),
  z.strictObject({ type: z.literal('refused'), sessionId: SessionId, what: z.string() }),
  z.strictObject({ type: z.literal('channels'), sessionId: SessionId, channels: z.int().nonnegative() }),
  z.strictObject({
    type: z.literal('ended'),
    sessionId: SessionId,
    error: z.strictObject({ code: z.enum(errorCodeList), message: z.string() }).optional(),
  }),
])
export type SessionReport = z.infer<typeof SessionReport>

/** All that such a process says. `taken`: it has got the next of the sockets it was sent. */
export const ProcessReport = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('taken') }),
  ...SessionReport.options,
])
export type ProcessReport = z.infer<typeof ProcessReport>
