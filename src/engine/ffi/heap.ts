/** Giving freed memory back: glibc keeps what ONNX Runtime frees while it loads (packing buffers, some 50 MB for TinyLlama). */

import type { OrtLibrary } from './library.js'

/** koffi unloads a library whose handle is collected, so it is kept for ever. */
let libc: { trim: (pad: number) => number; handle: unknown } | undefined

/** Asks the C library to return free pages to the system. Does nothing where there is no glibc. */
export function returnFreeMemory({ koffi }: Pick<OrtLibrary, 'koffi'>): void {
  if (process.platform !== 'linux') return
  if (!libc) {
    try {
      const handle = koffi.load('libc.so.6')
      libc = { handle, trim: handle.func('int malloc_trim(size_t pad)') as unknown as (pad: number) => number }
    } catch {
      libc = { handle: undefined, trim: () => 0 } // musl: its allocator keeps nothing worth returning
    }
  }
  libc.trim(0)
}
