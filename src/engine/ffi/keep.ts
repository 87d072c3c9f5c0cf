/**
 * koffi unloads a library once its handle is garbage-collected, and the next call then jumps into nothing. A module-level
 * variable is not enough: a test runner that resets modules drops the module with it. So handles hang on the global object.
 */

const KEPT = Symbol.for('m4fm.engine.libraries')

/** Keeps `handle` for as long as the process lives, and gives it back. */
export function keepForEver<T extends object>(handle: T): T {
  const holder = globalThis as { [KEPT]?: Set<object> }
  holder[KEPT] ??= new Set()
  holder[KEPT].add(handle)
  return handle
}
