/** Layers in front of a head: y = ReLU(W·x + b) for every vector, as a device runs the layers of an adapter. */

import { linear, linearParameters } from './layers.js'
import type { TaskHead } from './types.js'

/**
 * @param width of the features
 * @param make the head, for the width that the last layer gives
 */
export function withHidden(width: number, hidden: readonly number[], make: (width: number) => TaskHead): TaskHead {
  const widths = [width, ...hidden]
  const head = make(widths.at(-1)!)
  return {
    ...head,
    in: width,
    parameters: [...hidden.flatMap((out, i) => linearParameters(`hidden.${i}`, widths[i]!, out)), ...head.parameters],
    program: (emit, features) => {
      let x = features
      for (const i of hidden.keys()) x = emit.scope.op('Relu', [linear(emit, x, `hidden.${i}`)])
      return head.program(emit, x)
    },
  }
}
