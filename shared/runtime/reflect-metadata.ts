/**
 * The three functions of the Reflect metadata proposal (rbuckton.github.io/reflect-metadata) that
 * tsyringe, inside @peculiar/x509, asks for when it is loaded. Import this file before that package.
 * Does nothing where a polyfill is there already.
 */
interface MetadataFunctions {
  getOwnMetadata(key: unknown, target: object): unknown
  getMetadata(key: unknown, target: object): unknown
  defineMetadata(key: unknown, value: unknown, target: object): void
}

const metadataOf = new WeakMap<object, Map<unknown, unknown>>()

const functions: MetadataFunctions = {
  getOwnMetadata: (key, target) => metadataOf.get(target)?.get(key),
  getMetadata: (key, target) => {
    for (let owner: object | null = target; owner !== null; owner = Reflect.getPrototypeOf(owner)) {
      const entries = metadataOf.get(owner)
      if (entries?.has(key) === true) return entries.get(key)
    }
    return undefined
  },
  defineMetadata: (key, value, target) => {
    const entries = metadataOf.get(target) ?? new Map<unknown, unknown>()
    metadataOf.set(target, entries.set(key, value))
  },
}

for (const [name, value] of Object.entries(functions)) {
  if (!Reflect.has(Reflect, name)) Object.defineProperty(Reflect, name, { value, configurable: true, writable: true })
}
