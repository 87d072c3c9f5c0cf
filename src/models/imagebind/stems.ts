/** From an input to tokens [N, T, C]: one stem a kind. Rows N are items times clips. */

import type { GraphBuilder, Value } from '../../graph/index.js'
import { type EmbeddingKind, embeddingTable } from '../embedding.js'
import { vector } from '../linear.js'
import { type EmitContext, layerNorm, need } from '../transformer.js'
import type { WeightTensor } from '../weights.js'
import { type ImageBindConfig, missingWindows, patchCount, stemChannels, type WindowStem } from './config.js'
import { TOWERS } from './modalities.js'
import { gravityFrame, motionStatistics } from './motion-frame.js'

export interface Tokens {
  /** [N, T, C] */
  readonly tokens: Value
  /** The graph's input, whose first size is B. */
  readonly input: Value
  /** Text only: ids int64 [B, T]. */
  readonly ids?: Value
  /** Motion with `gravity` only: what heads read beside the class token. [B, S] */
  readonly statistics?: Value
}

/**
 *   vision     pixels float32 [B, Q, 3, frames, H, W], one frame stands for two equal ones
 *   audio      mel float32 [B, Q, 1, M, N]
 *   depth, thermal  pixels float32 [B, 1, H, W]
 *   imu        motion float32 [B, 6, N]
 *   text       ids int64 [B, T], T up to the trained context
 */
export function stemTokens(
  ctx: EmitContext,
  g: GraphBuilder,
  config: ImageBindConfig,
  stemContext: EmitContext,
  embedding: EmbeddingKind,
): Tokens {
  const { stem } = config
  if (stem.kind === 'tokens') return textTokens(ctx, g, embedding)
  const { input, patches, statistics } =
    stem.kind === 'patches' ? picturePatches(ctx, g, config, stem) : motionWindows(ctx, g, config, stem)
  const normed = ctx.weights.has('stem/norm')
    ? layerNorm(stemContext, g.scope('stem'), patches, 'stem/norm', 'norm')
    : patches
  const rows = g.op('Shape', [normed], { start: 0, end: 1 }, 'rows')
  const one = g.op('Concat', [rows, g.int64([1, config.width])], { axis: 0 }, 'clsShape')
  const cls = g.op('Expand', [vector(g, need(ctx.weights, 'cls'), 'cls/weight'), one], {}, 'cls') // [N, 1, C]
  const all = g.op('Concat', [cls, normed], { axis: 1 }, 'patchesAndCls')
  const positions = vector(g, need(ctx.weights, 'positions'), 'positions')
  const tokens = g.op('Add', [all, positions], {}, 'tokens')
  return { input, tokens, ...(statistics ? { statistics } : {}) }
}

type Stem<K extends ImageBindConfig['stem']['kind']> = Extract<ImageBindConfig['stem'], { kind: K }>

interface Patches {
  readonly input: Value
  readonly patches: Value // [N, P, C]
  readonly statistics?: Value
}

function picturePatches(ctx: EmitContext, g: GraphBuilder, config: ImageBindConfig, stem: Stem<'patches'>): Patches {
  const { channels, frames, kernel, stride, height, width } = stem
  const { clips } = TOWERS[config.modality]
  // A picture is two equal frames: one is repeated, two stay as they are.
  const many = frames > 1
  const name = config.modality === 'audio' ? 'mel' : 'pixels'
  const input = g.input(name, 'float32', [
    'B',
    ...(clips ? ['Q'] : []),
    channels,
    ...(many ? ['?'] : []),
    height,
    width,
  ])
  const moving = many ? g.op('Expand', [input, g.int64([frames, 1, 1])], {}, 'frames') : input
  // Frames join the channels: a convolution over both at once is one over pictures of channels·frames.
  const flat =
    clips || many
      ? g.op('Reshape', [moving, g.int64([-1, channels * frames, height, width])], {}, 'rowsOfPictures')
      : moving
  const filters = reshaped(need(ctx.weights, 'stem'), [config.width, channels * frames, kernel, kernel])
  const conv = g.op('Conv', [flat, vector(g, filters, 'stem/weight')], { strides: [stride, stride] }, 'stem/conv') // [N, C, h, w]
  const grid = g.op('Reshape', [conv, g.int64([0, config.width, patchCount(config)])], {}, 'stem/grid')
  return { input, patches: g.op('Transpose', [grid], { perm: [0, 2, 1] }, 'stem/patches') } // [N, P, C]
}

/** `unfold` and a matrix are one convolution in time. Windows of zeros behind them become the bias of the norm that follows. */
function motionWindows(ctx: EmitContext, g: GraphBuilder, config: ImageBindConfig, stem: WindowStem): Patches {
  const { channels, kernel, step, samples, gravity } = stem
  const missing = missingWindows(stem, config.positions)
  const input = g.input('motion', 'float32', ['B', channels, samples])
  const seen = gravity ? gravityFrame(g.scope('frame'), input) : input
  const filters = reshaped(need(ctx.weights, 'stem'), [config.width, stemChannels(stem), kernel])
  const conv = g.op('Conv', [seen, vector(g, filters, 'stem/weight')], { strides: [step] }, 'stem/conv') // [B, C, P]
  const filled = missing ? g.op('Pad', [conv, g.int64([0, 0, 0, 0, 0, missing])], {}, 'stem/filled') : conv
  const patches = g.op('Transpose', [filled], { perm: [0, 2, 1] }, 'stem/windows') // [B, P, C]
  return { input, patches, ...(gravity ? { statistics: motionStatistics(g.scope('frame'), seen) } : {}) }
}

function textTokens(ctx: EmitContext, g: GraphBuilder, embedding: EmbeddingKind): Tokens {
  const ids = g.input('ids', 'int64', ['B', 'T'])
  const words = embeddingTable(g, ids, need(ctx.weights, 'embed'), embedding, 'embed')
  const length = g.op('Shape', [ids], { start: 1, end: 2 }, 'length')
  const positions = vector(g, need(ctx.weights, 'positions'), 'positions')
  const used = g.op('Slice', [positions, g.int64([0]), length, g.int64([1])], {}, 'positionsUsed')
  return { input: ids, ids, tokens: g.op('Add', [words, used], {}, 'tokens') }
}

/** The same elements in other dims. */
const reshaped = (tensor: WeightTensor, dims: readonly number[]): WeightTensor => ({
  name: tensor.name,
  ...(tensor.origin ? { origin: tensor.origin } : {}),
  dims,
  float32: () => tensor.float32(),
})
