import { tmpdir } from 'node:os'
import path from 'node:path'
import { RateSchedule as RateScheduleContract } from '@sendense/shared/contracts/rate-schedule.ts'
import { parseByteSize } from '@sendense/shared/domain/byte-size.ts'
import type { RateSchedule } from '@sendense/shared/domain/rate-schedule.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { z } from 'zod'
import { defaultGuardSettings, type GuardSettings } from './mover/latency-guard.ts'
import type { StoreCredentials } from './object-store/object-store-config.ts'

/** Of every program in this workspace. */
export const AGENT_VERSION = '0.1.0'

const directory = z
  .string()
  .min(1)
  .transform((text) => path.resolve(text))

const MOVER_MEMORY_BYTES_MIN = 64 * 1024 * 1024
/** Guests are looked at once a second; a hang shorter than a few looks is none. */
const GUEST_HANG_MS_MIN = 3000
const MOVER_MEMORY_BYTES = 1024 * 1024 * 1024

/** A size like `50M`, always, or a RateSchedule as JSON. */
function parseRate(text: string, context: z.RefinementCtx): RateSchedule {
  const always = parseByteSize(text)
  if (always !== undefined && always >= 1) return { zone: 'UTC', windows: [], otherwiseBytesPerSecond: always }
  const parsed = RateScheduleContract.safeParse(parseJson(text))
  if (parsed.success) return parsed.data
  context.addIssue({
    code: 'custom',
    message: `neither a size like 50M nor a schedule: ${z.prettifyError(parsed.error)}`,
  })
  return z.NEVER
}

function parseRateMin(text: string, context: z.RefinementCtx): number {
  const bytesPerSecond = parseByteSize(text)
  if (bytesPerSecond !== undefined && bytesPerSecond >= 1) return bytesPerSecond
  context.addIssue({ code: 'custom', message: 'not a size like 4M' })
  return z.NEVER
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const Environment = z.object({
  SENDENSE_EDGE_STATE_DIR: directory,
  SENDENSE_EDGE_RUNTIME_DIR: directory.default(() => path.join(tmpdir(), 'sendense-edge')),
  SENDENSE_EDGE_CLOUD_URL: z.url({ protocol: /^https?$/ }).optional(),
  SENDENSE_EDGE_ENROLMENT_TOKEN: z.string().min(1).optional(),
  SENDENSE_EDGE_DATABASE_SOCKET: z.string().min(1),
  SENDENSE_EDGE_DATABASE_NAME: z
    .string()
    .regex(/^[a-z0-9_]{1,64}$/)
    .default('sendense_edge'),
  SENDENSE_EDGE_KVM_ROOT: directory.optional(),
  SENDENSE_EDGE_KVM_RUNTIME_DIR: directory.optional(),
  SENDENSE_EDGE_REPOSITORY_DIR: directory.optional(),
  SENDENSE_EDGE_REPOSITORY_NAME: z.string().min(1).max(255).default('local repository'),
  SENDENSE_EDGE_REPOSITORY_ENCRYPTION: z.enum(['none', 'luks']).default('none'),
  SENDENSE_EDGE_REPOSITORY_RATE: z.string().transform(parseRate).optional(),
  SENDENSE_EDGE_TUNNEL_PORT: z.coerce.number().int().min(1).max(65_535).optional(),
  SENDENSE_EDGE_TUNNEL_HOST: z.string().min(1).max(255).optional(),
  SENDENSE_EDGE_JOBS_MAX: z.coerce.number().int().min(1).max(256).default(2),
  SENDENSE_EDGE_MOVER_THREADS: z.coerce.number().int().min(1).max(64).optional(),
  SENDENSE_EDGE_MOVER_MEMORY_BYTES: z.coerce.number().int().min(MOVER_MEMORY_BYTES_MIN).default(MOVER_MEMORY_BYTES),
  SENDENSE_EDGE_GUEST_LATENCY_MS: z.coerce.number().min(1).max(60_000).default(defaultGuardSettings.latencyFloorMs),
  SENDENSE_EDGE_GUEST_LATENCY_FACTOR: z.coerce.number().min(1).max(1000).default(defaultGuardSettings.baselineFactor),
  SENDENSE_EDGE_GUEST_RATE_MIN: z.string().transform(parseRateMin).optional(),
  SENDENSE_EDGE_GUEST_HANG_MS: z.coerce
    .number()
    .int()
    .min(GUEST_HANG_MS_MIN)
    .max(600_000)
    .default(defaultGuardSettings.hangLimitMs),
  SENDENSE_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
})

export interface EdgeAgentConfig {
  /** Keys, certificate, secrets of repositories. */
  readonly stateDir: string
  /** Sockets: a short path. */
  readonly runtimeDir: string
  /** Where the agent enrols; only needed until it has. */
  readonly cloudUrl: string | undefined
  readonly enrolmentToken: string | undefined
  readonly databaseSocket: string
  readonly databaseName: string
  /** Plain-QEMU host to protect; absent: none. */
  readonly kvm: { readonly rootDir: string; readonly runtimeDir: string } | undefined
  readonly repository:
    | {
        readonly dir: string
        readonly name: string
        /** Decided when it is made. */
        readonly encryption: 'none' | 'luks'
        /** How fast its data may be moved, all jobs together. Absent: unlimited. */
        readonly rate?: RateSchedule
      }
    | undefined
  /** Where capture agents connect to, 443 as a rule; absent: nowhere. `host`: the address to listen on, or all. */
  readonly tunnel: { readonly port: number; readonly host: string | undefined } | undefined
  readonly jobsMax: number
  readonly mover: {
    /** Absent: as many as the machine has processors, at most 8. */
    readonly threadsMax?: number
    /** Buffers of all copies together. */
    readonly memoryBytes: number
  }
  /** When a backup gives way to its guest. */
  readonly sparing: GuardSettings
  readonly logLevel: string
}

/** The only reader of the environment. Throws `config.invalid` and names the variables. */
export function readConfig(environment: Readonly<Record<string, string | undefined>>): EdgeAgentConfig {
  const parsed = Environment.safeParse(environment)
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
    throw new PlatformError('config.invalid', `settings are missing or wrong: ${problems.join('; ')}`)
  }
  const found = parsed.data
  const rootDir = found.SENDENSE_EDGE_KVM_ROOT
  const repositoryDir = found.SENDENSE_EDGE_REPOSITORY_DIR
  return {
    stateDir: found.SENDENSE_EDGE_STATE_DIR,
    runtimeDir: found.SENDENSE_EDGE_RUNTIME_DIR,
    cloudUrl: found.SENDENSE_EDGE_CLOUD_URL,
    enrolmentToken: found.SENDENSE_EDGE_ENROLMENT_TOKEN,
    databaseSocket: found.SENDENSE_EDGE_DATABASE_SOCKET,
    databaseName: found.SENDENSE_EDGE_DATABASE_NAME,
    kvm:
      rootDir === undefined
        ? undefined
        : {
            rootDir,
            runtimeDir: found.SENDENSE_EDGE_KVM_RUNTIME_DIR ?? path.join(found.SENDENSE_EDGE_RUNTIME_DIR, 'kvm'),
          },
    repository:
      repositoryDir === undefined
        ? undefined
        : {
            dir: repositoryDir,
            name: found.SENDENSE_EDGE_REPOSITORY_NAME,
            encryption: found.SENDENSE_EDGE_REPOSITORY_ENCRYPTION,
            ...(found.SENDENSE_EDGE_REPOSITORY_RATE === undefined ? {} : { rate: found.SENDENSE_EDGE_REPOSITORY_RATE }),
          },
    tunnel:
      found.SENDENSE_EDGE_TUNNEL_PORT === undefined
        ? undefined
        : { port: found.SENDENSE_EDGE_TUNNEL_PORT, host: found.SENDENSE_EDGE_TUNNEL_HOST },
    jobsMax: found.SENDENSE_EDGE_JOBS_MAX,
    mover: {
      ...(found.SENDENSE_EDGE_MOVER_THREADS === undefined ? {} : { threadsMax: found.SENDENSE_EDGE_MOVER_THREADS }),
      memoryBytes: found.SENDENSE_EDGE_MOVER_MEMORY_BYTES,
    },
    sparing: {
      latencyFloorMs: found.SENDENSE_EDGE_GUEST_LATENCY_MS,
      baselineFactor: found.SENDENSE_EDGE_GUEST_LATENCY_FACTOR,
      rateFloorBytesPerSecond: found.SENDENSE_EDGE_GUEST_RATE_MIN ?? defaultGuardSettings.rateFloorBytesPerSecond,
      hangLimitMs: found.SENDENSE_EDGE_GUEST_HANG_MS,
    },
    logLevel: found.SENDENSE_LOG_LEVEL,
  }
}

const StoreEnvironment = z.object({
  AWS_ACCESS_KEY_ID: z.string().min(1).optional(),
  AWS_SECRET_ACCESS_KEY: z.string().min(1).optional(),
  AWS_SESSION_TOKEN: z.string().min(1).optional(),
  AZURE_STORAGE_KEY: z.string().min(1).optional(),
  AZURE_STORAGE_SAS_TOKEN: z.string().min(1).optional(),
})

/** Keys of storages under the names that their vendors gave them: for the command line only, never for the agent. */
export function readStoreCredentials(environment: Readonly<Record<string, string | undefined>>): StoreCredentials {
  const found = StoreEnvironment.parse(environment)
  const {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: sessionToken,
  } = found
  const { AZURE_STORAGE_KEY: accountKey, AZURE_STORAGE_SAS_TOKEN: sasToken } = found
  const hasS3 = accessKeyId !== undefined && secretAccessKey !== undefined
  const token = sessionToken === undefined ? {} : { sessionToken }
  return {
    ...(hasS3 ? { s3: { accessKeyId, secretAccessKey, ...token } } : {}),
    ...(accountKey !== undefined ? { azure: { accountKey } } : sasToken !== undefined ? { azure: { sasToken } } : {}),
  }
}
