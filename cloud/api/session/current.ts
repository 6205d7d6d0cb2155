import { SessionView } from '@sendense/shared/contracts/api/session-api.ts'
import { sessionProcedure } from '../trpc.ts'
import { toSessionView } from './session-view.ts'

export const current = sessionProcedure.output(SessionView).query(({ ctx }) => toSessionView(ctx.session))
