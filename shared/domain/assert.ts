/** Thrown where an invariant of our own is broken. It is never caught to go on: the process ends. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError'
}

/** Browser-safe assert. Not for input: input is parsed and answered with a PlatformError. */
export default function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InvariantError(message)
}
