import { Badge } from '../../ui/badge.tsx'
import { StatusDot } from '../../ui/status-dot.tsx'
import { Tooltip } from '../../ui/tooltip.tsx'
import { presenceWords, type Agent } from './presence-words.ts'

export function AgentPresence({ presence }: { presence: Agent['presence'] }) {
  const { tone, word, sentence } = presenceWords[presence]
  return (
    <Tooltip content={sentence}>
      <Badge tone={tone} tabIndex={0}>
        <StatusDot tone={tone} />
        {word}
      </Badge>
    </Tooltip>
  )
}
