/** What is wrong with a head's configuration, features or outputs, in a sentence. */

import { type Dim, formatDims } from '../../core/dims.js'
import { M4Error } from '../../core/errors.js'
import type { HostTensor } from '../../core/tensor.js'
import type { Value } from '../../graph/index.js'
import type { TaskHead } from './types.js'

/** @throws M4Error `USAGE` for sizes that are not whole numbers of 1 or more */
export function requireSizes(head: string, sizes: Readonly<Record<string, number>>): void {
  for (const [name, size] of Object.entries(sizes))
    if (!Number.isSafeInteger(size) || size < 1)
      throw new M4Error('USAGE', `Head ${head}, ${name}: expected a whole number of 1 or more, got ${size}.`)
}

/** @throws M4Error `USAGE` unless there is one weight a class, none below 0 */
export function requireWeights(head: string, weights: readonly number[], classes: number): void {
  if (weights.length !== classes || !weights.every((weight) => weight >= 0 && Number.isFinite(weight)))
    throw new M4Error(
      'USAGE',
      `Head ${head}, classWeights: expected ${classes} numbers of 0 or more, got [${weights.join(', ')}].`,
    )
}

/** @throws M4Error `SHAPE_MISMATCH` when an encoder gives other features than the head reads */
export function requireFeatures({ name, takes, in: width, patches }: TaskHead, { dims, dtype }: Value): void {
  const expected: Dim[] = takes === 'vector' ? ['B', width] : ['B', patches!, width]
  const fits =
    dtype === 'float32' &&
    dims.length === expected.length &&
    dims.slice(1).every((dim, i) => typeof dim !== 'number' || dim === expected[i + 1]) &&
    dims.at(-1) === width
  if (!fits)
    throw new M4Error(
      'SHAPE_MISMATCH',
      `Head ${name}: expected features float32 ${formatDims(expected)}, got ${dtype} ${formatDims(dims)}.`,
      {
        hint:
          takes === 'patches'
            ? 'Choose the patches of the encoder, without its class token.'
            : 'Choose one vector an item.',
      },
    )
}

/**
 * The rows of an output, one an item.
 * @param dims sizes behind the batch
 * @throws M4Error `SHAPE_MISMATCH`
 */
export function itemRows(
  head: string,
  output: string,
  tensor: HostTensor | undefined,
  dims: readonly number[],
): Float32Array[] {
  if (tensor?.dtype !== 'float32' || tensor.dims.slice(1).join() !== dims.join() || !tensor.dims.length)
    throw new M4Error(
      'SHAPE_MISMATCH',
      `Head ${head}, output ${output}: expected float32 ${formatDims(['B', ...dims])}, got ${tensor ? `${tensor.dtype} ${formatDims(tensor.dims)}` : 'nothing'}.`,
      { hint: 'Were these outputs made by this head?' },
    )
  const size = dims.reduce((a, b) => a * b, 1)
  const data = tensor.data as Float32Array
  return Array.from({ length: tensor.dims[0]! }, (_, i) => data.subarray(i * size, (i + 1) * size))
}
