import type { ServerResponse } from 'node:http'

const HSTS_SECONDS = 365 * 24 * 3600

/** What every answer carries: pages, API and errors. */
export function addSecurityHeaders(response: ServerResponse, publicUrl: string): void {
  response.setHeader('x-content-type-options', 'nosniff')
  response.setHeader('x-frame-options', 'DENY')
  response.setHeader('referrer-policy', 'same-origin')
  response.setHeader('cross-origin-opener-policy', 'same-origin')
  response.setHeader('cross-origin-resource-policy', 'same-origin')
  response.setHeader('permissions-policy', 'camera=(), microphone=(), geolocation=()')
  response.setHeader(
    'content-security-policy',
    "frame-ancestors 'none'; base-uri 'self'; object-src 'none'; form-action 'self'",
  )
  if (publicUrl.startsWith('https:')) {
    response.setHeader('strict-transport-security', `max-age=${HSTS_SECONDS}; includeSubDomains`)
  }
}
