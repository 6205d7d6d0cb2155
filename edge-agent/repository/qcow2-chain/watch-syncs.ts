import { readlinkSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'

/** For tests: `onSync` hears the path of each file and directory of this process just after fsync(2). */
export async function watchSyncs(onSync: (path: string) => void): Promise<Disposable> {
  const handle = await open('/dev/null', 'r')
  const prototype: Pick<FileHandle, 'sync'> = Object.getPrototypeOf(handle)
  await handle.close()
  const { sync } = prototype
  prototype.sync = async function (this: FileHandle) {
    await sync.call(this)
    onSync(readlinkSync(`/proc/self/fd/${this.fd}`))
  }
  return {
    [Symbol.dispose]: () => {
      prototype.sync = sync
    },
  }
}
