/** `1 disk`, `2 disks`: for words whose plural only adds an s. */
export function countOf(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`
}
