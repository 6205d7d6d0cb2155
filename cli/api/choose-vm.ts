import type { VmView } from '@sendense/shared/contracts/api/protection-api.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

/**
 * The VM that `text` names: by id, else by name. VMs that are gone from their platform count only where no
 * other has the name.
 * @throws PlatformError `resource.not_found`; `input.invalid` that lists the VMs where the name is not unique
 */
export function chooseVm(vms: readonly VmView[], text: string): VmView {
  const byId = vms.find((vm) => vm.vmId === text.toLowerCase())
  if (byId !== undefined) return byId
  const named = vms.filter((vm) => vm.name === text)
  const present = named.filter((vm) => vm.present)
  const candidates = present.length > 0 ? present : named
  const [only] = candidates
  if (only === undefined) throw new PlatformError('resource.not_found', `no VM has the name or id ${text}`)
  if (candidates.length > 1) {
    const list = candidates.map((vm) => `  ${vm.vmId}  ${vm.name} at ${vm.siteName}, ${vm.customerName}`)
    throw new PlatformError(
      'input.invalid',
      `${candidates.length} VMs have the name ${text}; give the id of one:\n${list.join('\n')}`,
    )
  }
  return only
}
