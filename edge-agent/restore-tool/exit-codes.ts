/** What the program says to scripts when it ends. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  /** It did what it was asked for, and found damage: zeros stand where data is missing, or something would not restore. */
  damaged: 2,
} as const
