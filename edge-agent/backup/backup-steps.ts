/** Instants of a backup at which a dying agent leaves different things behind; recovery is tested at each. */
export const backupSteps = ['reconciled', 'frozen', 'opened', 'copied', 'sealed', 'catalogued', 'committed'] as const
export type BackupStep = (typeof backupSteps)[number]
