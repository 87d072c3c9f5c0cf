/** The one-node model of an operator case: inputs `x0`, `x1`, …, outputs `y0`, `y1`, …; constants are initializers. */

import type { Dim } from '../../core/dims.js'
import type { HostTensor } from '../../core/tensor.js'
import { GraphBuilder } from '../builder.js'
import type { AttributesOf, OpName } from '../ops.js'
import { tensorFrom } from '../tensors.js'
import type { Graph } from '../types.js'
import { type CaseTensor, type OpCase, outputMask, toHostTensor } from './case-types.js'

/** The graph of a case. `dimsOf` may replace known sizes of inputs by symbols. */
export function caseGraph(
  op: OpName,
  opCase: OpCase,
  dimsOf: (tensor: CaseTensor) => readonly Dim[] = ({ dims }) => dims,
): Graph {
  const g = new GraphBuilder(`${op}/${opCase.name}`)
  const inputs = opCase.inputs.map((tensor, i) => {
    if (!tensor) return undefined
    if (!tensor.constant) return g.input(`x${i}`, tensor.dtype, dimsOf(tensor))
    return g.initializer(`x${i}`, tensorFrom(tensor.dtype, tensor.dims, toHostTensor(tensor).data))
  })
  const names = outputMask(opCase).map((asked, i) => (asked ? `y${i}` : undefined))
  const values = g.ops(op, inputs, opCase.attributes as AttributesOf<OpName>, names)
  for (const value of values) if (value) g.output(value.name, value)
  return g.build()
}

/** What to feed: input name → tensor. */
export function caseFeeds({ inputs }: Pick<OpCase, 'inputs'>): Record<string, HostTensor> {
  return Object.fromEntries(
    inputs.flatMap((tensor, i) => (tensor && !tensor.constant ? [[`x${i}`, toHostTensor(tensor)] as const] : [])),
  )
}
