/** The memory that kernels work on: one for the thread, used anew by each matrix, and only while nothing else can run. */

import { type Kernels, kernelsOver } from './kernels.js'

export interface Scratch<Name extends string> {
  readonly kernels: Kernels
  /** Where each region begins: bytes, aligned to 64. */
  readonly at: Readonly<Record<Name, number>>
  readonly uint8: Uint8Array
  readonly float32: Float32Array
  readonly float64: Float64Array
}

const PAGE_BYTES = 65_536
const ALIGNMENT = 64

let open: { readonly memory: WebAssembly.Memory; readonly kernels: Kernels } | undefined

/** Regions of so many bytes, zero; those of the call before are gone. */
export function scratch<Name extends string>(sizes: Readonly<Record<Name, number>>): Scratch<Name> {
  const at = {} as Record<Name, number>
  let end = 0
  for (const [name, bytes] of Object.entries<number>(sizes) as [Name, number][]) {
    at[name] = end
    end = Math.ceil((end + bytes) / ALIGNMENT) * ALIGNMENT
  }
  open ??= withKernels(new WebAssembly.Memory({ initial: 1 }))
  const { memory, kernels } = open
  const missing = end - memory.buffer.byteLength
  if (missing > 0) memory.grow(Math.ceil(missing / PAGE_BYTES))
  const { buffer } = memory
  const uint8 = new Uint8Array(buffer).fill(0, 0, end)
  return { kernels, at, uint8, float32: new Float32Array(buffer), float64: new Float64Array(buffer) }
}

const withKernels = (memory: WebAssembly.Memory) => ({ memory, kernels: kernelsOver(memory) })
