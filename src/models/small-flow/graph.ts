/**
 * One look of the generator at a picture between noise and done: which way each dot should go. A transformer over patches whose
 * norms are scaled, shifted and gated by what is painted and by the time. What it says itself is the picture at the end of the way,
 * of which few directions are plausible; the noise, which fills all of them, does not have to pass through its narrow tokens.
 *
 * @paper DiT with adaLN: arXiv:2212.09748 §3.2 · rectified flow: arXiv:2209.03003 §2 · the clean picture as what is predicted:
 * arXiv:2511.13720
 */

import { bytesOf } from '../../core/tensor.js'
import { type Graph, GraphBuilder, lazyTensor, type Scope, type Value } from '../../graph/index.js'
import { type QuantisationPlan, table } from '../linear.js'
import { sinusoids } from '../stable-diffusion/sinusoids.js'
import { dense, type EmitContext, need } from '../transformer.js'
import type { WeightTensor } from '../weights.js'
import { LAST_TIME, restOfWay, type SmallFlowConfig, TIME_WAVES } from './config.js'

const NORM_EPSILON = 1e-6

/**
 * `picture` [B, Z, Y, X] between noise and a picture in [-1, 1], `time` int64 [B] in thousandths, `joint` [B, E] of length 1 (or
 * zeros: nothing is said) → `velocity` [B, Z, Y, X] towards the picture at the end:
 * that picture minus this one, over what is left of the way.
 */
export function smallFlowGraph(
  config: SmallFlowConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  plan: QuantisationPlan,
): Graph {
  const { channels, size, layers, joint } = config
  const g = new GraphBuilder('picture.velocity')
  const ctx: EmitContext = { weights, plan, normEpsilon: NORM_EPSILON }
  const picture = g.input('picture', 'float32', ['B', channels, size, size])
  const time = g.input('time', 'int64', ['B'])
  const what = g.input('joint', 'float32', ['B', joint])
  const condition = conditionOf(ctx, g, time, what) // [B, 1, W]
  const ones = g.initializer(
    'norm/ones',
    lazyTensor('float32', [config.width], () => bytesOf(new Float32Array(config.width).fill(1))),
  )
  const positions = table(g, need(weights, 'positions'), 'float32', 'positions')
  const seen = dense(ctx, g, patchesOf(config, g, picture), 'patches/in', 'patches/in')
  let x = g.op('Add', [seen, positions], {}, 'tokens') // [B, P, C]
  for (let l = 0; l < layers; l++) x = block(ctx, g.scope(`layers.${l}`), x, { config, condition, ones, l })
  const out = g.scope('out')
  const [shift, scale] = parts(ctx, out, condition, 'out/modulate', ['shift', 'scale'])
  const last = modulated(out, x, ones, { shift: shift!, scale: scale! }, 'norm')
  const end = pictureOf(config, g, dense(ctx, g, last, 'patches/out', 'patches/out'))
  const rests = lazyTensor('float32', [LAST_TIME + 1], () =>
    bytesOf(Float32Array.from({ length: LAST_TIME + 1 }, (_, at) => restOfWay(at))),
  )
  const rest = g.op('Gather', [g.initializer('rest/table', rests), time], { axis: 0 }, 'rest')
  const way = g.op('Sub', [end, picture], {}, 'way')
  g.output('velocity', g.op('Div', [way, g.op('Unsqueeze', [rest, g.int64([1, 2, 3])], {}, 'rest/wide')], {}, 'speed'))
  return g.build()
}

/** Time and vector, each through two layers, added. [B, 1, W] */
function conditionOf(ctx: EmitContext, g: GraphBuilder, time: Value, joint: Value): Value {
  const waves = lazyTensor('float32', [LAST_TIME + 1, TIME_WAVES], () => bytesOf(sinusoids(LAST_TIME + 1, TIME_WAVES)))
  const when = g.op('Gather', [g.initializer('time/waves', waves), time], { axis: 0 }, 'time/embedded')
  // Numbers of a unit vector are small: √E times as large, their squares are 1 on average.
  const what = g.op('Mul', [joint, g.float32(Math.sqrt(joint.dims[1] as number))], {}, 'joint/scaled')
  const through = (x: Value, name: string) =>
    dense(ctx, g, silu(g, dense(ctx, g, x, `${name}/fc1`, `${name}/fc1`), `${name}/silu`), `${name}/fc2`, `${name}/fc2`)
  const sum = g.op('Add', [through(when, 'time'), through(what, 'joint')], {}, 'condition/sum')
  return g.op('Unsqueeze', [silu(g, sum, 'condition/silu'), g.int64([1])], {}, 'condition')
}

interface Surroundings {
  readonly config: SmallFlowConfig
  readonly condition: Value
  readonly ones: Value
  readonly l: number
}

const PARTS = ['attnShift', 'attnScale', 'attnGate', 'mlpShift', 'mlpScale', 'mlpGate']

/** x + gate·attention(norm), then x + gate·mlp(norm). [B, P, C] */
function block(ctx: EmitContext, layer: Scope, x: Value, { config, condition, ones, l }: Surroundings): Value {
  const path = `layers.${l}`
  const [shift1, scale1, gate1, shift2, scale2, gate2] = parts(ctx, layer, condition, `${path}/modulate`, PARTS)
  const attn = layer.scope('attn')
  const read = modulated(attn, x, ones, { shift: shift1!, scale: scale1! }, 'norm')
  const [q, k, v] = ['q', 'k', 'v'].map((part) => dense(ctx, attn, read, `${path}/attn/${part}`, part))
  const mixed = attn.op('MultiHeadAttention', [q, k, v], { num_heads: config.heads }, 'mixed')
  const attended = gated(attn, x, dense(ctx, attn, mixed, `${path}/attn/o`, 'o'), gate1!)
  const mlp = layer.scope('mlp')
  const normed = modulated(mlp, attended, ones, { shift: shift2!, scale: scale2! }, 'norm')
  const wide = mlp.op('QuickGelu', [dense(ctx, mlp, normed, `${path}/mlp/fc1`, 'fc1')], { alpha: 1.702 }, 'wide')
  return gated(mlp, attended, dense(ctx, mlp, wide, `${path}/mlp/fc2`, 'fc2'), gate2!)
}

/** Equal parts of one linear layer over the condition, [B, 1, C] each. */
function parts(ctx: EmitContext, scope: Scope, condition: Value, path: string, names: readonly string[]): Value[] {
  const all = dense(ctx, scope, condition, path, 'modulate')
  return scope.ops('Split', [all], { axis: -1, num_outputs: names.length }, names)
}

/** norm(x)·(1 + scale) + shift */
function modulated(
  scope: Scope,
  x: Value,
  ones: Value,
  { shift, scale }: { readonly shift: Value; readonly scale: Value },
  name: string,
): Value {
  const normed = scope.op('LayerNormalization', [x, ones], { axis: -1, epsilon: NORM_EPSILON }, name)
  const factor = scope.op('Add', [scale, scope.float32(1)], {}, `${name}/factor`)
  return scope.op('Add', [scope.op('Mul', [normed, factor], {}, `${name}/scaled`), shift], {}, `${name}/shifted`)
}

const gated = (scope: Scope, x: Value, more: Value, gate: Value): Value =>
  scope.op('Add', [x, scope.op('Mul', [more, gate], {}, 'gated')], {}, 'sum')

const silu = (scope: Scope, x: Value, name: string): Value => scope.op('QuickGelu', [x], { alpha: 1 }, name)

/** [B, Z, n·p, n·p] → [B, n·n, Z·p·p] */
function patchesOf(config: SmallFlowConfig, g: GraphBuilder, picture: Value): Value {
  const { channels, size, patch } = config
  const side = size / patch
  const cut = g.op('Reshape', [picture, g.int64([0, channels, side, patch, side, patch])], {}, 'patches/cut')
  const sorted = g.op('Transpose', [cut], { perm: [0, 2, 4, 1, 3, 5] }, 'patches/sorted')
  return g.op('Reshape', [sorted, g.int64([0, side * side, channels * patch * patch])], {}, 'patches')
}

/** [B, n·n, Z·p·p] → [B, Z, n·p, n·p] */
function pictureOf(config: SmallFlowConfig, g: GraphBuilder, patches: Value): Value {
  const { channels, size, patch } = config
  const side = size / patch
  const cut = g.op('Reshape', [patches, g.int64([0, side, side, channels, patch, patch])], {}, 'picture/cut')
  const sorted = g.op('Transpose', [cut], { perm: [0, 3, 1, 4, 2, 5] }, 'picture/sorted')
  return g.op('Reshape', [sorted, g.int64([0, channels, size, size])], {}, 'picture/whole')
}
