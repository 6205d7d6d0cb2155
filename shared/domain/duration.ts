/** A duration for people, at most two units: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 14 min`, `3 d 4 h`. Input in milliseconds. */
export function formatDuration(milliseconds: number): string {
  const seconds = Math.max(0, milliseconds) / 1000
  if (seconds < 9.95) return `${seconds.toFixed(1).replace(/\.0$/, '')} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  const pairs: [number, string, number, string][] = [
    [60, 'min', 1, 's'],
    [3600, 'h', 60, 'min'],
    [86_400, 'd', 3600, 'h'],
  ]
  const pair = whole < 3600 ? pairs[0] : whole < 86_400 ? pairs[1] : pairs[2]
  const [big, bigName, small, smallName] = pair ?? [60, 'min', 1, 's']
  const rest = Math.floor((whole % big) / small)
  return rest === 0
    ? `${Math.floor(whole / big)} ${bigName}`
    : `${Math.floor(whole / big)} ${bigName} ${rest} ${smallName}`
}
