/** One layer of a convolutional network an entry: its output, its mean squared error and all gradients. */

import { openCheckpoint } from '../../checkpoint/index.js'
import type { HostTensor } from '../../core/tensor.js'
import { GraphBuilder, type Scope, type Value } from '../../graph/index.js'
import { gradients } from '../../train/autodiff/backward.js'
import { Tape } from '../../train/autodiff/tape.js'
import type { Runner } from '../types.js'
import { runOnce } from './gradients.js'

/** An entry of `config.ops`. */
interface LayerConfig {
  readonly op: string
  readonly stride?: number
  readonly padding?: number
  readonly dilation?: number
  readonly output_padding?: number
  /** Of a convolution, or of a group norm. */
  readonly groups?: number
  readonly eps?: number
  /** Zeros [left, right, top, bottom] around the input. */
  readonly prepad?: readonly [number, number, number, number]
}

export interface Affine {
  readonly weight: Value
  readonly bias: Value
}

type Layer = (scope: Scope, x: Value, affine: Affine, config: LayerConfig) => Value

/** PyTorch's Conv[1d, 2d]: the same stride, padding and dilation on all axes. */
export function convolution(
  scope: Scope,
  x: Value,
  { weight, bias }: Affine,
  config: Partial<LayerConfig> = {},
): Value {
  const each = (size: number) => weight.dims.slice(2).map(() => size)
  const { stride = 1, padding = 0, dilation = 1, groups = 1 } = config
  const pads = [...each(padding), ...each(padding)]
  return scope.op('Conv', [x, weight, bias], { strides: each(stride), pads, dilations: each(dilation), group: groups })
}

/** PyTorch's ConvTranspose[1d, 2d]. */
export function transposedConvolution(
  scope: Scope,
  x: Value,
  { weight, bias }: Affine,
  config: Partial<LayerConfig> = {},
): Value {
  const each = (size: number) => weight.dims.slice(2).map(() => size)
  const { stride = 1, padding = 0, dilation = 1, groups = 1, output_padding: extra = 0 } = config
  return scope.op('ConvTranspose', [x, weight, bias], {
    strides: each(stride),
    pads: [...each(padding), ...each(padding)],
    dilations: each(dilation),
    output_padding: each(extra),
    group: groups,
  })
}

/** Group norm as a layer norm over [B, G, C/G·Y·X] without scale, then scale and shift by channel. arXiv:1803.08494 */
export function groupNorm(scope: Scope, x: Value, { weight, bias }: Affine, groups: number, epsilon: number): Value {
  const dims = x.dims as readonly number[]
  const width = dims.slice(1).reduce((product, size) => product * size, 1) / groups
  const rows = scope.op('Reshape', [x, scope.int64([0, groups, width])])
  const ones = scope.op('Expand', [scope.float32(1), scope.int64([width])])
  const names = ['unit', 'mean', 'inverse'] as const
  const [unit] = scope.ops('LayerNormalization', [rows, ones], { axis: -1, epsilon }, names)
  const byChannel = (each: Value) => scope.op('Unsqueeze', [each, scope.int64([1, 2])]) // [C, 1, 1]
  const back = scope.op('Reshape', [unit, scope.int64([...dims])])
  return scope.op('Add', [scope.op('Mul', [back, byChannel(weight)]), byChannel(bias)])
}

export const silu = (scope: Scope, x: Value): Value => scope.op('QuickGelu', [x], { alpha: 1 })

/** Every pixel four times: [B, C, Y, X] → [B, C, 2Y, 2X]. */
function upsampled(scope: Scope, x: Value): Value {
  const [B, C, Y, X] = x.dims as [number, number, number, number]
  const apart = scope.op('Reshape', [x, scope.int64([B, C, Y, 1, X, 1])])
  const copies = scope.op('Expand', [apart, scope.int64([B, C, Y, 2, X, 2])])
  return scope.op('Reshape', [copies, scope.int64([B, C, 2 * Y, 2 * X])])
}

function padded(scope: Scope, x: Value, { prepad }: LayerConfig): Value {
  if (!prepad) return x
  const [left, right, top, bottom] = prepad
  return scope.op('Pad', [x, scope.int64([top, left, bottom, right]), scope.float32(0), scope.int64([2, 3])])
}

const LAYERS: Readonly<Record<string, Layer>> = {
  conv2d: (scope, x, affine, config) => convolution(scope, padded(scope, x, config), affine, config),
  conv1d: convolution,
  conv_transpose2d: transposedConvolution,
  conv_transpose1d: transposedConvolution,
  'group_norm+silu': (scope, x, affine, config) =>
    silu(scope, groupNorm(scope, x, affine, config.groups!, config.eps!)),
  'nearest x2 + conv2d': (scope, x, affine, config) => convolution(scope, upsampled(scope, x), affine, config),
}

/** mean((y - target)²) */
export function meanSquaredError(scope: Scope, y: Value, target: Value): Value {
  const rest = scope.op('Sub', [y, target])
  return scope.op('ReduceMean', [scope.op('Mul', [rest, rest])], { keepdims: 0 })
}

/** All entries in one graph. */
export const runConvolutions: Runner = async ({ parityCase, engine, signal }) => {
  using checkpoint = openCheckpoint(parityCase.checkpointPath())
  const g = new GraphBuilder('train-conv')
  const tape = new Tape(g)
  const feeds = new Map<string, HostTensor>()
  const input = (name: string, tensor: HostTensor) => {
    feeds.set(name, tensor)
    return g.input(name, tensor.dtype, tensor.dims)
  }
  for (const [name, config] of Object.entries(parityCase.config.ops as Readonly<Record<string, LayerConfig>>)) {
    const layer = LAYERS[config.op]
    if (!layer) throw new Error(`No layer "${config.op}".`)
    const scope = g.scope(name)
    const [x, target] = ['x', 'target'].map((part) => input(`${name}.${part}`, parityCase.input(`${name}.${part}`)))
    const [weight, bias] = ['weight', 'bias'].map((part) =>
      input(`${name}.${part}`, checkpoint.tensors.get(`${name}.${part}`)!.read()),
    )
    const y = layer(scope, x!, { weight: weight!, bias: bias! }, config)
    const loss = meanSquaredError(scope, y, target!)
    g.output(`out/${name}.y`, y)
    g.output(`out/${name}.loss`, loss)
    const found = gradients(tape, loss, [x!, weight!, bias!], { scope: `gradient/${name}` })
    for (const [i, part] of ['x', 'weight', 'bias'].entries()) g.output(`out/grad.${name}.${part}`, found[i]!)
  }
  const results = await runOnce(engine, g.build({ dropIdle: true }), feeds, signal)
  return { tensors: new Map([...results].map(([name, tensor]) => [name.slice('out/'.length), tensor])) }
}
