import type { CommandHandler } from './command-handler.ts'

export const refreshInventory: CommandHandler<'refresh-inventory'> = async (_received, { inventory }, options) => {
  await inventory.refresh({ ...options, force: true })
  return 'done'
}
