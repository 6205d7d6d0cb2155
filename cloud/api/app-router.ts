import type { AnyTRPCRouter } from '@trpc/server'
import { createEnrolmentToken } from './agent/create-enrolment-token.ts'
import { listAgents } from './agent/list-agents.ts'
import { refreshInventory } from './agent/refresh-inventory.ts'
import { acknowledgeAlerts } from './alert/acknowledge-alerts.ts'
import { listAlerts } from './alert/list-alerts.ts'
import { summariseAlerts } from './alert/summarise-alerts.ts'
import { cancelJob } from './job/cancel-job.ts'
import { getJob } from './job/get-job.ts'
import { listJobs } from './job/list-jobs.ts'
import { startBackup } from './job/start-backup.ts'
import { startRestore } from './job/start-restore.ts'
import { startVerify } from './job/start-verify.ts'
import { liveEvents } from './live/live-events.ts'
import { accessOf } from './procedure-access.ts'
import { listRepositories } from './repository/list-repositories.ts'
import { getRestorePoint } from './restore-point/get-restore-point.ts'
import { listRestorePoints } from './restore-point/list-restore-points.ts'
import { current } from './session/current.ts'
import { logIn } from './session/log-in.ts'
import { logOut } from './session/log-out.ts'
import { listSites } from './site/list-sites.ts'
import { router } from './trpc.ts'
import { getVm } from './vm/get-vm.ts'
import { listVms } from './vm/list-vms.ts'

/** Everything people and programs can ask of the cloud; the table is in shared/contracts/api/README.md. */
export const appRouter = withAccess(
  router({
    session: router({ logIn, logOut, current }),
    site: router({ list: listSites }),
    agent: router({ list: listAgents, createEnrolmentToken, refreshInventory }),
    vm: router({ list: listVms, get: getVm }),
    repository: router({ list: listRepositories }),
    restorePoint: router({ list: listRestorePoints, get: getRestorePoint }),
    job: router({ list: listJobs, get: getJob, startBackup, startRestore, startVerify, cancel: cancelJob }),
    alert: router({ list: listAlerts, summary: summariseAlerts, acknowledge: acknowledgeAlerts }),
    live: router({ events: liveEvents }),
  }),
)

export type AppRouter = typeof appRouter

/** Fails at start where a procedure does not say who may call it. */
function withAccess<R extends AnyTRPCRouter>(built: R): R {
  accessOf(built)
  return built
}
