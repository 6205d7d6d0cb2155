import type { Usage } from '../resource-usage.ts'

/** Another backup program at work on one image file and one repository of its own, both below `dir`. */
export interface BackupPeer {
  readonly name: string
  /** As the program says it itself. */
  readonly version: string
  /** Makes an empty, encrypted repository in the place of what was there. Not timed. */
  create(): Promise<void>
  /** Of the image; the first is a full one, later ones read all of it and store what is new. */
  backUp(): Promise<Usage>
  /** Of many other images, in one run of the program: starting it for each would be the larger part. */
  backUpAll(paths: readonly string[]): Promise<Usage>
  /** The newest backup of the image, to a file in `dir` that is removed afterwards. */
  restore(dir: string): Promise<Usage>
  /** Reads everything stored and checks it. */
  verify(): Promise<Usage>
  /** Deletes the oldest backup and gives its space back. */
  deleteAndCollect(): Promise<Usage>
}
