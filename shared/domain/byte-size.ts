const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

export const KIB = 1024
export const MIB = 1024 * KIB
export const GIB = 1024 * MIB

/** A size for people: three significant figures, binary units, as `1.5 GiB`. */
export function formatByteSize(bytes: number): string {
  let value = bytes
  let unit = 0
  while (Math.abs(value) >= 1023.5 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  const digits = unit === 0 || Math.abs(value) >= 99.95 ? 0 : Math.abs(value) >= 9.995 ? 1 : 2
  const text = digits === 0 ? value.toFixed(0) : value.toFixed(digits).replace(/\.?0+$/, '')
  return `${text} ${units[unit] ?? 'B'}`
}

const SIZE = /^([0-9]+(?:\.[0-9]+)?)\s?(?:([KMGTP])(?:iB|B)?|B)?$/i

/**
 * A size as people write it: `4096`, `64K`, `1.5 GiB`; all units are binary.
 * @returns whole bytes, or undefined for anything else
 */
export function parseByteSize(text: string): number | undefined {
  const [, number, unit = ''] = SIZE.exec(text.trim()) ?? []
  if (number === undefined) return undefined
  const bytes = Math.round(Number(number) * 1024 ** ' KMGTP'.indexOf(unit.toUpperCase() || ' '))
  return Number.isSafeInteger(bytes) ? bytes : undefined
}
