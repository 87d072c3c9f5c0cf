/** Classes of an item: linear layers with an activation between them, as `models/mlp-head.ts` runs them on a device. */

import { type HostTensor, hostTensor } from '../../core/tensor.js'
import { type MlpHeadConfig, mlpHeadShapes } from '../../models/index.js'
import { classLoss } from '../losses/index.js'
import { itemRows, requireSizes, requireWeights } from './checks.js'
import { linear, linearParameters } from './layers.js'
import type { TaskHead } from './types.js'

export interface ClassifierConfig extends MlpHeadConfig {
  /** How much each class counts in the loss. Default: all alike. */
  readonly classWeights?: readonly number[]
  /** Label smoothing. Default 0. */
  readonly smoothing?: number
}

export interface Classified {
  /** Most probable class. */
  readonly label: number
  readonly probabilities: Float32Array
}

const ACTIVATIONS = { gelu: 'Gelu', relu: 'Relu' } as const

/**
 *   features [B, C] → logits [B, K]
 *   target   labels int64 [B], −100 for items that do not count
 * @throws M4Error `USAGE`
 */
export function classifierHead(config: ClassifierConfig): TaskHead<'logits', 'labels', Classified> {
  const { in: width, hidden, classes, activation, classWeights, smoothing = 0 } = config
  const name = 'classifier'
  requireSizes(name, { in: width, classes, ...Object.fromEntries(hidden.map((size, i) => [`hidden[${i}]`, size])) })
  if (classWeights) requireWeights(name, classWeights, classes)
  const widths = [width, ...hidden, classes]
  return {
    name,
    takes: 'vector',
    in: width,
    out: classes,
    parameters: widths.slice(1).flatMap((out, i) => linearParameters(`layers.${i}`, widths[i]!, out)),
    targets: { labels: { dtype: 'int64', dims: ['B'] } },
    program: (emit, features) => {
      let x = features
      for (const i of hidden.keys()) x = emit.scope.op(ACTIVATIONS[activation], [linear(emit, x, `layers.${i}`)])
      return { logits: linear(emit, x, `layers.${hidden.length}`) }
    },
    loss: ({ tape, scope }, { logits }, { labels }) =>
      classLoss(tape, scope, logits, labels, {
        smoothing,
        ...(classWeights ? { classWeights: scope.float32(classWeights) } : {}),
      }),
    decode: ({ logits }) =>
      itemRows(name, 'logits', logits, [classes]).map((row) => {
        const probabilities = softmax(row)
        return { label: probabilities.indexOf(Math.max(...probabilities)), probabilities }
      }),
  }
}

/** exp(x − largest) over their sum. */
export function softmax(row: Float32Array): Float32Array {
  const largest = Math.max(...row)
  const exps = row.map((x) => Math.exp(x - largest))
  const sum = exps.reduce((a, b) => a + b, 0)
  return exps.map((x) => x / sum)
}

/** Trained layers by the names that `mlpHeadConfig` and `mlpHeadWeights` read: `layers.0.weight`, `layers.0.bias`. */
export function classifierTensors(
  config: ClassifierConfig,
  parameters: ReadonlyMap<string, Float32Array>,
): Record<string, HostTensor<'float32'>> {
  return Object.fromEntries(
    Object.entries(mlpHeadShapes(config)).map(([name, dims]) => {
      const theirs = name.endsWith('/bias') ? name.replace('/bias', '.bias') : `${name}.weight`
      return [theirs, hostTensor('float32', dims, parameters.get(name)!.slice() as never)]
    }),
  )
}
