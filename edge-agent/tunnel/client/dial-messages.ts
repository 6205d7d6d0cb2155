import { errorCodeList } from '@sendense/shared/errors/error-codes.ts'
import { z } from 'zod'

const Port = z.int().min(1).max(65_535)
const Milliseconds = z.int().positive()

/** A service on the capture side, as the capture side sees it. */
export const LocalTarget = z.union([
  z.strictObject({ path: z.string().min(1) }),
  z.strictObject({ host: z.string().min(1), port: Port }),
])
export type LocalTarget = z.infer<typeof LocalTarget>

/** Between TunnelClient and a process that keeps one tunnel up for it. */
export const DialOrder = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('start'),
    host: z.string(),
    port: Port,
    hostKeyFingerprint: z.string(),
    /** PEM. */
    key: z.string(),
    ports: z.array(Port),
    targets: z.array(z.strictObject({ port: Port, target: LocalTarget })),
    times: z.strictObject({
      handshakeMs: Milliseconds,
      keepaliveMs: Milliseconds,
      keepaliveMisses: z.int().positive(),
      rekeyBytes: z.int().positive(),
    }),
    retry: z.strictObject({ baseMs: Milliseconds, capMs: Milliseconds }),
  }),
  z.strictObject({ type: z.literal('target'), orderId: z.int(), port: Port, target: LocalTarget.optional() }),
  z.strictObject({ type: z.literal('stop') }),
])
export type DialOrder = z.infer<typeof DialOrder>

export const DialReport = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('state'),
    isConnected: z.boolean(),
    error: z.strictObject({ code: z.enum(errorCodeList), message: z.string() }).optional(),
  }),
  z.strictObject({ type: z.literal('target-known'), orderId: z.int() }),
])
export type DialReport = z.infer<typeof DialReport>
