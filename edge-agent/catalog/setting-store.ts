/** Small values that outlive the process. */
export const settingKeys = ['boot-epoch', 'event-sequence', 'event-sent', 'command-sequence'] as const
export type SettingKey = (typeof settingKeys)[number]

export interface SettingStore {
  /** Locks the row until the transaction ends; 0 where it was never set. */
  getNumber(key: SettingKey): Promise<number>
  setNumber(key: SettingKey, value: number): Promise<void>
}
