import { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import { z } from 'zod'

/** What the keeper is told on its standard input; the end of it means the same. */
export const KEEPER_THAW = 'thaw'

/** What the keeper says on its standard output, a JSON value a line: first one `frozen`, then one `thawed`. */
export const KeeperMessage = z.union([
  z.strictObject({ frozen: z.boolean() }),
  z.strictObject({ thawed: z.int().nonnegative() }),
  z.strictObject({ failed: ErrorReport }),
])
export type KeeperMessage = z.infer<typeof KeeperMessage>
