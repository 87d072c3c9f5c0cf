/** Progress of long work as plain data; the command line draws it, a service may stream it. */

export interface Progress {
  /** What is being done, e.g. `pull model.part`, `quantise backbone`. */
  readonly task: string
  readonly done: number
  /** Undefined when the end is not known. */
  readonly total?: number
  readonly unit: 'bytes' | 'items'
}

export type ProgressListener = (progress: Progress) => void

/** Options of every long operation. */
export interface LongOperation {
  readonly onProgress?: ProgressListener
  readonly signal?: AbortSignal
}

/** Lets timers, signals and I/O run between two blocking steps. */
export function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
