import { VmName } from '@sendense/shared/contracts/identifiers.ts'

const NAME_LENGTH_MAX = 63

/** What is wrong with the name of a VM to be made, or undefined where it can be used. */
export function vmNameProblem(name: string, takenNames: ReadonlySet<string>): string | undefined {
  if (name === '') return 'Give the new VM a name.'
  if (name.length > NAME_LENGTH_MAX) return `At most ${NAME_LENGTH_MAX} characters; this has ${name.length}.`
  if (!/^[A-Za-z0-9]/.test(name)) return 'The first character is a letter or a digit.'
  if (!VmName.safeParse(name).success) return 'Only letters, digits, dot, dash and underscore.'
  if (takenNames.has(name)) return `There is a VM named ${name} already.`
  return undefined
}

/** A free name made of the source's, for the first suggestion: `erp-db-01-restored`, then `…-restored-2`. */
export function suggestVmName(sourceName: string, takenNames: ReadonlySet<string>): string {
  const cleaned = sourceName.replaceAll(/[^A-Za-z0-9_.-]/g, '-').replace(/^[^A-Za-z0-9]+/, '')
  const stem = `${(cleaned === '' ? 'vm' : cleaned).slice(0, NAME_LENGTH_MAX - '-restored-999'.length)}-restored`
  for (let number = 1; number <= takenNames.size; number += 1) {
    const name = number === 1 ? stem : `${stem}-${number}`
    if (!takenNames.has(name)) return name
  }
  return takenNames.size === 0 ? stem : `${stem}-${takenNames.size + 1}`
}
