import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { detectAccelerator, guestRuns } from './accelerator.ts'

test('the probe guest runs under emulation, so a silent one is the fault of KVM', async () => {
  expect(await guestRuns('tcg')).toBe(true)
})

test('KVM is never chosen on a processor that has no virtualization, whatever /dev/kvm says', async () => {
  const words = (await readFile('/proc/cpuinfo', 'utf8')).split(/\s+/)
  const allowed = words.includes('vmx') || words.includes('svm') ? ['kvm', 'tcg'] : ['tcg']
  expect(allowed).toContain(await detectAccelerator({ signal: AbortSignal.timeout(20_000) }))
})
