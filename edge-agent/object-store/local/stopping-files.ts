import { constants } from 'node:os'
import type { StoreFile, StoreFiles } from './store-files.ts'

/** What a call meets: nothing, or an error instead of its effect. `call` is such as `rename PATH`. */
export type BeforeCall = (call: string) => void

/** For tests: asks before every call whether it is to fail, for crashes at every step and errors of the kernel. */
export function stoppingFiles(files: StoreFiles, before: BeforeCall): StoreFiles {
  const stopping = (file: StoreFile, name: string): StoreFile => ({
    read: async (position, into, options) => {
      before(`read ${name}`)
      return await file.read(position, into, options)
    },
    append: async (bytes, options) => {
      before(`append ${name}`)
      await file.append(bytes, options)
    },
    sync: async (options) => {
      before(`sync ${name}`)
      await file.sync(options)
    },
    stat: async (options) => {
      before(`stat ${name}`)
      return await file.stat(options)
    },
    close: async (options) => await file.close(options),
  })
  return {
    create: async (name, options) => {
      before(`create ${name}`)
      return stopping(await files.create(name, options), name)
    },
    open: async (name, options) => {
      before(`open ${name}`)
      return stopping(await files.open(name, options), name)
    },
    stat: async (name, options) => {
      before(`stat ${name}`)
      return await files.stat(name, options)
    },
    list: async (name, options) => {
      before(`list ${name}`)
      return await files.list(name, options)
    },
    makeDirectory: async (name, options) => {
      before(`makeDirectory ${name}`)
      await files.makeDirectory(name, options)
    },
    rename: async (from, to, options) => {
      before(`rename ${to}`)
      await files.rename(from, to, options)
    },
    remove: async (name, options) => {
      before(`remove ${name}`)
      await files.remove(name, options)
    },
    removeDirectory: async (name, options) => {
      before(`removeDirectory ${name}`)
      await files.removeDirectory(name, options)
    },
    syncDirectory: async (name, options) => {
      before(`syncDirectory ${name}`)
      await files.syncDirectory(name, options)
    },
  }
}

/** An error as Node makes it of the kernel's: libuv has no name for some of them. */
export function kernelError(code: string, syscall: string): Error {
  const errno = -(constants.errno[code as keyof typeof constants.errno] ?? 0)
  const isNamed = code !== 'ESTALE' && code !== 'EDQUOT'
  const known = isNamed ? code : `Unknown system error ${errno}`
  return Object.assign(new Error(`${known}: injected, ${syscall}`), { code: known, errno, syscall })
}
