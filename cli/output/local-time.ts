/** An instant in the zone of the person who reads it: `2026-11-23 21:04:05`. Null or undefined: a dash. */
export function formatLocalTime(instant: string | null | undefined): string {
  if (instant === null || instant === undefined) return '–'
  const at = new Date(instant)
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`
}

function two(value: number): string {
  return String(value).padStart(2, '0')
}
