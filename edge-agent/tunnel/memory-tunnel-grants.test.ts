import { randomBytes } from 'node:crypto'
import { MemoryTunnelGrants } from './memory-tunnel-grants.ts'
import { describeTunnelGrants } from './tunnel-grants.conformance.ts'

describeTunnelGrants('memory', async () => {
  const grants = new MemoryTunnelGrants()
  return {
    grants,
    createToken: async (grant, { isOld }) => {
      const secret = randomBytes(32).toString('base64url')
      grants.addToken(secret, grant, { isOld })
      return secret
    },
    revoke: async (captureAgentId) => grants.revoke(captureAgentId),
  }
})
