/**
 * Where to go after the log-in: the `next` of the address when it is a path of this portal, else the overview.
 * Another origin is never followed (`//host` and `/\host` are other origins to a browser).
 */
export function returnAddress(next: string | null | undefined): string {
  if (next === null || next === undefined) return '/'
  return /^\/(?![/\\])/.test(next) && !next.startsWith('/login') ? next : '/'
}
