import { AsyncDisposableStack, DisposableStack } from '@whatwg-node/disposablestack'

/** Node 22 has `Symbol.asyncDispose`, not yet what gathers disposables. Runs before all else of the bundle. */
Object.assign(globalThis, {
  AsyncDisposableStack: globalThis.AsyncDisposableStack ?? AsyncDisposableStack,
  DisposableStack: globalThis.DisposableStack ?? DisposableStack,
})
