import { VmName } from '@sendense/shared/contracts/identifiers.ts'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { suggestVmName, vmNameProblem } from './vm-name-problem.ts'

const none: ReadonlySet<string> = new Set()

test.each([
  ['', /name/],
  ['a'.repeat(64), /63/],
  ['-a', /first character/],
  ['.a', /first character/],
  ['a b', /letters, digits/i],
  ['a/b', /letters, digits/i],
  ['überall', /first character/],
])('"%s" is refused with a reason', (name, reason) => {
  expect(vmNameProblem(name, none)).toMatch(reason)
})

test('a taken name is refused', () => {
  expect(vmNameProblem('demo-vm', new Set(['demo-vm']))).toContain('demo-vm')
})

test('what is accepted here is accepted by the contract, and the other way round', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 70 }), (name) => {
      expect(vmNameProblem(name, none) === undefined).toBe(VmName.safeParse(name).success)
    }),
  )
})

test('the suggestion can always be used', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 255 }), fc.nat({ max: 5 }), (sourceName, takenCount) => {
      const taken = new Set<string>()
      for (let count = 0; count <= takenCount; count += 1) taken.add(suggestVmName(sourceName, taken))
      expect(taken.size).toBe(takenCount + 1)
      expect(vmNameProblem(suggestVmName(sourceName, taken), taken)).toBeUndefined()
    }),
  )
})
