/** Giving freed memory back: glibc keeps what ONNX Runtime frees while it loads (packing buffers, some 50 MB for TinyLlama). */

import { keepForEver } from './keep.js'
import type { OrtLibrary } from './library.js'

let trim: ((pad: number) => number) | undefined

/** Asks the C library to return free pages to the system. Does nothing where there is no glibc. */
export function returnFreeMemory({ koffi }: Pick<OrtLibrary, 'koffi'>): void {
  if (process.platform !== 'linux') return
  trim ??= findTrim(koffi)
  trim(0)
}

function findTrim(koffi: OrtLibrary['koffi']): (pad: number) => number {
  try {
    const libc = keepForEver(koffi.load('libc.so.6'))
    return libc.func('int malloc_trim(size_t pad)') as unknown as (pad: number) => number
  } catch {
    return () => 0 // musl: its allocator keeps nothing worth returning
  }
}
