import { expect, test } from 'vitest'
import { hasHardwareVirtualization } from './accelerator.ts'

test.each([
  ['Intel', 'vmx', true],
  ['AMD', 'svm', true],
  ['a virtual processor without nested virtualization', 'hypervisor', false],
  ['a flag that only contains the letters', 'vmx_like svm_lock', false],
])('%s: %s', (_processor, flag, expected) => {
  const cpuinfo = `processor\t: 0\nmodel name\t: svm vmx\nflags\t\t: fpu vme ${flag} sse2\nbugs\t\t:\n`
  expect(hasHardwareVirtualization(cpuinfo)).toBe(expected)
})
