import { expect, test } from 'vitest'
import { detectAccelerator, guestRuns } from './accelerator.ts'

test('the probe guest runs under emulation, so a silent one is the fault of KVM', async () => {
  expect(await guestRuns('tcg')).toBe(true)
})

test('the choice is what was proven', async () => {
  const chosen = await detectAccelerator({ signal: AbortSignal.timeout(20_000) })
  expect(chosen).toBe((await guestRuns('kvm')) ? 'kvm' : 'tcg')
})
