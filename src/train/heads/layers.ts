/** Pieces that heads share: a linear layer, maps over patches, and pixels between them. */

import { bytesOf } from '../../core/tensor.js'
import { lazyTensor, type Scope, type Value } from '../../graph/index.js'
import type { PatchGrid } from '../../runtime/patch-heads/index.js'
import type { Emit, HeadParameter } from './types.js'

/** Weight [out, in] and bias [out]. @param bias where it begins */
export const linearParameters = (name: string, inner: number, out: number, bias = 0): HeadParameter[] => [
  { name, dims: [out, inner], start: { fanIn: inner } },
  { name: `${name}/bias`, dims: [out], start: { constant: bias } },
]

/** x·Wᵀ + bias. [.., in] → [.., out] */
export function linear({ scope, parameter }: Emit, x: Value, name: string): Value {
  const product = scope.op('FusedMatMul', [x, parameter(name)], { transB: 1 }, `${name}/product`)
  return scope.op('Add', [product, parameter(`${name}/bias`)], {}, name)
}

/** One number a patch and map. [B, P, C] → [B, K, P] */
export const patchMaps = (emit: Emit, features: Value, name: string): Value =>
  emit.scope.op('Transpose', [linear(emit, features, name)], { perm: [0, 2, 1] }, `${name}/maps`)

/**
 * Maps [B, K, P] as pixels [B, K, height, width]: linear between the centres of patches, the outer ones continued to the border.
 * Bilinear weights are a product of weights along rows and along columns, so two small matrices do it.
 */
export function upsampled(
  scope: Scope,
  maps: Value,
  { rows, columns }: PatchGrid,
  height: number,
  width: number,
): Value {
  const count = Number(maps.dims[1])
  const grid = scope.op('Reshape', [maps, scope.int64([-1, count, rows, columns])], {}, 'grid')
  const across = matrix(scope, 'across', [columns, width], (to, from) => tent(to, from, width, columns), true)
  const down = matrix(scope, 'down', [height, rows], (to, from) => tent(to, from, height, rows), false)
  const wide = scope.op('MatMul', [grid, across], {}, 'wide') // [B, K, rows, width]
  return scope.op('MatMul', [down, wide], {}, 'upsampled')
}

/** Weight of patch `from` at pixel `to`. */
function tent(to: number, from: number, pixels: number, patches: number): number {
  const at = Math.min(Math.max(((to + 0.5) * patches) / pixels - 0.5, 0), patches - 1)
  return Math.max(0, 1 - Math.abs(at - from))
}

function matrix(
  scope: Scope,
  name: string,
  dims: readonly [number, number],
  weight: (to: number, from: number) => number,
  turned: boolean,
): Value {
  const make = () => {
    const [rows, columns] = dims
    const data = new Float32Array(rows * columns)
    for (let y = 0; y < rows; y++)
      for (let x = 0; x < columns; x++) data[y * columns + x] = turned ? weight(x, y) : weight(y, x)
    return bytesOf(data)
  }
  return scope.initializer(name, lazyTensor('float32', dims, make))
}

/** Centres of the patches, row by row: x and y as shares of the picture. [P, 2] */
export function patchCentres({ rows, columns }: PatchGrid): Float32Array {
  const centres = new Float32Array(rows * columns * 2)
  for (let y = 0; y < rows; y++)
    for (let x = 0; x < columns; x++) centres.set([(x + 0.5) / columns, (y + 0.5) / rows], (y * columns + x) * 2)
  return centres
}
