import type { AgentView, SiteView } from '@sendense/shared/contracts/api/fleet-api.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { z } from 'zod'

type Agent = z.infer<typeof AgentView>

/**
 * The agent that `text` names: by id, else by host name.
 * @throws PlatformError `resource.not_found`; `input.invalid` that lists the agents where the name is not unique
 */
export function chooseAgent(agents: readonly Agent[], text: string): Agent {
  const named = agents.map((agent) => ({ id: agent.agentId, name: agent.hostname, where: agent.siteName, agent }))
  return choose(named, text, 'agent').agent
}

/**
 * The site that `text` names: by id, else by name.
 * @throws PlatformError `resource.not_found`; `input.invalid` that lists the sites where the name is not unique
 */
export function chooseSite(sites: readonly SiteView[], text: string): SiteView {
  const named = sites.map((site) => ({ id: site.siteId, name: site.name, where: site.customerName, site }))
  return choose(named, text, 'site').site
}

interface Named {
  readonly id: string
  readonly name: string
  readonly where: string
}

function choose<N extends Named>(all: readonly N[], text: string, what: string): N {
  const byId = all.find(({ id }) => id === text.toLowerCase())
  if (byId !== undefined) return byId
  const candidates = all.filter(({ name }) => name === text)
  const [only] = candidates
  if (only === undefined) throw new PlatformError('resource.not_found', `no ${what} has the name or id ${text}`)
  if (candidates.length === 1) return only
  const list = candidates.map(({ id, name, where }) => `  ${id}  ${name}, ${where}`)
  throw new PlatformError(
    'input.invalid',
    `${candidates.length} ${what}s have the name ${text}; give the id of one:\n${list.join('\n')}`,
  )
}
