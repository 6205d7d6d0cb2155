import type { IncomingHttpHeaders } from 'node:http'

const loopbackHosts = new Set(['localhost', '127.0.0.1', '[::1]'])

export function isLoopbackHost(hostname: string): boolean {
  return loopbackHosts.has(hostname)
}

/** Answers whether a browser's request comes from the portal's own pages. */
export interface OriginPolicy {
  /**
   * For requests that may change something. Requests without browser headers come from programs, which no
   * stranger's page can steer; with a cookie they are refused all the same.
   */
  allowsChange(headers: IncomingHttpHeaders, credential: 'bearer' | 'cookie' | 'none'): boolean
  /** For WebSocket upgrades: browsers always send Origin with them. */
  allowsUpgrade(headers: IncomingHttpHeaders): boolean
}

/** Where the public URL is on a loopback host, its other names are the same origin. */
export function createOriginPolicy(publicUrl: string): OriginPolicy {
  const own = new URL(publicUrl)
  const isOwn = (origin: string): boolean => {
    if (origin === own.origin) return true
    if (!URL.canParse(origin)) return false
    const other = new URL(origin)
    const bothLoopback = isLoopbackHost(other.hostname) && isLoopbackHost(own.hostname)
    return bothLoopback && other.protocol === own.protocol && other.port === own.port
  }
  return {
    allowsChange(headers, credential) {
      const site = headers['sec-fetch-site']
      if (site !== undefined && site !== 'same-origin') return false
      if (headers.origin !== undefined) return isOwn(headers.origin)
      return site === 'same-origin' || credential !== 'cookie'
    },
    allowsUpgrade: (headers) => headers.origin === undefined || isOwn(headers.origin),
  }
}
