'use client'

import { Cell, HeaderCell, Row, Table, TableBody, TableHead } from '../../ui/table.tsx'
import { TimeAgo } from '../../ui/time-ago.tsx'
import { AgentPresence } from './agent-presence.tsx'
import type { Agent } from './presence-words.ts'
import { RefreshInventoryButton } from './refresh-inventory-button.tsx'

export function AgentTable({ agents }: { agents: readonly Agent[] }) {
  return (
    <Table label="Agents">
      <TableHead>
        <HeaderCell>Host</HeaderCell>
        <HeaderCell>Presence</HeaderCell>
        <HeaderCell>Last seen</HeaderCell>
        <HeaderCell>Version</HeaderCell>
        <HeaderCell>Enrolled</HeaderCell>
        <HeaderCell>Clock</HeaderCell>
        <HeaderCell>
          <span className="sr-only">Actions</span>
        </HeaderCell>
      </TableHead>
      <TableBody>
        {agents.map((agent) => (
          <Row key={agent.agentId}>
            <Cell className="font-medium">{agent.hostname}</Cell>
            <Cell>
              <AgentPresence presence={agent.presence} />
            </Cell>
            <Cell data-label="Seen" className="whitespace-nowrap">
              {agent.lastSeenAt === null ? 'Never' : <TimeAgo at={agent.lastSeenAt} />}
            </Cell>
            <Cell data-label="Version" className="font-mono text-xs">
              {agent.agentVersion}
            </Cell>
            <Cell data-label="Enrolled" className="whitespace-nowrap">
              <TimeAgo at={agent.enrolledAt} />
            </Cell>
            <Cell data-label="Clock" className="whitespace-nowrap text-ink-muted">
              {clockWords(agent.clockOffsetMs)}
            </Cell>
            <Cell>
              <div className="flex justify-end">
                <RefreshInventoryButton agent={agent} />
              </div>
            </Cell>
          </Row>
        ))}
      </TableBody>
    </Table>
  )
}

/** Schedules and expiry depend on it, so an offset people would notice is told. */
function clockWords(offsetMs: number | null): string {
  if (offsetMs === null) return '–'
  if (Math.abs(offsetMs) < 2000) return 'In step'
  return `${Math.round(Math.abs(offsetMs) / 1000)} s ${offsetMs > 0 ? 'ahead' : 'behind'}`
}
