import { readdir } from 'node:fs/promises'
import path from 'node:path'
import type { ProcessSpec } from '../processes/managed-process.ts'
import { AGENT_DATABASE, mariadbSocket } from './mariadb.ts'
import { checkoutDir, type StackPaths } from './stack-paths.ts'

export interface EdgeAgentInputs {
  readonly paths: StackPaths
  readonly cloudUrl: string
  /** Only needed until the agent has enrolled. */
  readonly enrolmentToken: string | undefined
  /** It serves nobody by itself: the cloud tells when it is online. */
  readonly ready: ProcessSpec['ready']
}

export function edgeAgentProcess(inputs: EdgeAgentInputs): ProcessSpec {
  const { paths, enrolmentToken } = inputs
  return {
    name: 'agent',
    file: process.execPath,
    args: [path.join(checkoutDir, 'edge-agent/main.ts')],
    env: {
      ...process.env,
      SENDENSE_EDGE_STATE_DIR: paths.agentDir,
      SENDENSE_EDGE_RUNTIME_DIR: path.join(paths.runtimeDir, 'agent'),
      SENDENSE_EDGE_CLOUD_URL: inputs.cloudUrl,
      ...(enrolmentToken === undefined ? {} : { SENDENSE_EDGE_ENROLMENT_TOKEN: enrolmentToken }),
      SENDENSE_EDGE_DATABASE_SOCKET: mariadbSocket(paths),
      SENDENSE_EDGE_DATABASE_NAME: AGENT_DATABASE,
      SENDENSE_EDGE_KVM_ROOT: paths.kvmRoot,
      SENDENSE_EDGE_KVM_RUNTIME_DIR: paths.kvmRuntimeDir,
      SENDENSE_EDGE_REPOSITORY_DIR: paths.repositoryDir,
      SENDENSE_EDGE_REPOSITORY_NAME: 'local repository',
    },
    cwd: checkoutDir,
    logFile: path.join(paths.logsDir, 'agent.log'),
    ready: inputs.ready,
    readyTimeoutMs: 90_000,
  }
}

/** An agent that has enrolled keeps its certificate in its state directory and needs no token again. */
export async function hasEnrolled(paths: StackPaths): Promise<boolean> {
  return (await readdir(paths.agentDir, { recursive: true })).some((name) => name.endsWith('.crt'))
}
