/** From a token to the joint space, and what is compared there. */

import { type Graph, GraphBuilder, type Scope, type Value } from '../../graph/index.js'
import type { ImageBindConfig } from './config.js'
import { TOWERS } from './modalities.js'

/** Lengths below this are not divided by (torch.nn.functional.normalize). */
const SHORTEST = 1e-12

/**
 * Length 1, times the scale, then the mean over the clips of each item: several clips together are shorter than the scale.
 * head [B·Q, E] → [B, E]
 * @param items a value whose first size is B, where an item may have clips
 */
export function joint(
  scope: Scope,
  head: Value,
  { scale, items }: { readonly scale?: Value | undefined; readonly items?: Value },
): Value {
  const squares = scope.op(
    'ReduceSum',
    [scope.op('Mul', [head, head], {}, 'squares'), scope.int64([-1])],
    { keepdims: 1 },
    'energy',
  )
  const length = scope.op('Max', [scope.op('Sqrt', [squares], {}, 'norm2'), scope.float32(SHORTEST)], {}, 'length2')
  const unit = scope.op('Div', [head, length], {}, 'unit')
  const scaled = scale ? scope.op('Mul', [unit, scale], {}, 'scaled') : unit
  if (!items) return scaled
  const rows = scope.op('Shape', [items], { start: 0, end: 1 }, 'itemRows')
  const shape = scope.op('Concat', [rows, scope.int64([-1, Number(head.dims.at(-1))])], { axis: 0 }, 'clipShape')
  const clips = scope.op('Reshape', [scaled, shape], {}, 'clips') // [B, Q, E]
  return scope.op('ReduceMean', [clips, scope.int64([1])], { keepdims: 0 }, 'embedding')
}

/**
 * A head of one's own on a tower that stays as it is, all its weights inputs: an adapter's head needs no build.
 *
 *   inputs   token [B, Q, C] · norm [C] · norm/bias [C] · head/weight [E, C] · scale [] (min(exp(logScale), 100); 1 for vision)
 *   outputs  embedding [B, E] · head [B·Q, E]
 */
export function imagebindHeadGraph({ modality, width, joint: size, normEpsilon }: ImageBindConfig): Graph {
  const g = new GraphBuilder(`${modality}.head`)
  const token = g.input('token', 'float32', ['B', 'Q', width])
  const [norm, bias] = [g.input('norm', 'float32', [width]), g.input('norm/bias', 'float32', [width])]
  const weight = g.input('head/weight', 'float32', [size, width])
  const scale = TOWERS[modality].scaled ? g.input('scale', 'float32', []) : undefined
  const rows = g.op('Reshape', [token, g.int64([-1, width])], {}, 'rows')
  const normed = g.op('LayerNormalization', [rows, norm, bias], { axis: -1, epsilon: normEpsilon }, 'normed')
  const head = g.op('MatMul', [normed, g.op('Transpose', [weight], { perm: [1, 0] }, 'columns')], {}, 'projected')
  g.output('head', head)
  g.output('embedding', joint(g, head, { scale, items: token }))
  return g.build()
}

/**
 * How alike the items of two modalities are. The scale of a tower is inside its embeddings.
 * `a` [B, E], `b` [K, E], `temperature` [] → `logits` [B, K] = a·bᵀ, `probabilities` [B, K] = softmax(logits / temperature)
 */
export function similarityGraph(size: number): Graph {
  const g = new GraphBuilder('joint.similarity')
  const a = g.input('a', 'float32', ['B', size])
  const b = g.input('b', 'float32', ['K', size])
  const temperature = g.input('temperature', 'float32', [])
  const logits = g.op('MatMul', [a, g.op('Transpose', [b], { perm: [1, 0] }, 'columns')], {}, 'products')
  g.output('logits', logits)
  g.output(
    'probabilities',
    g.op('Softmax', [g.op('Div', [logits, temperature], {}, 'tempered')], { axis: -1 }, 'softmax'),
  )
  return g.build()
}
