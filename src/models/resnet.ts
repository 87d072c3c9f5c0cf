/**
 * ResNet-50 of Keras applications, first edition: stride 2 in the first 1×1 convolution of a stage, batch norm folded into the
 * convolutions. Pictures in; class scores and pooled features of the middle layers out (a head picks the layer that suits it).
 *
 * @paper arXiv:1512.03385 · @reference keras-team/keras-applications@1.0.4 resnet50.py
 */

import { DTYPES } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'
import { type Graph, GraphBuilder, type Scope, type Value } from '../graph/index.js'
import type { CheckpointFacts } from './architecture.js'
import { dimsOf, factAt, numberFact } from './facts.js'
import { imageCrop } from './front-ends/image.js'
import { linear, linearKindOf, type QuantisationPlan, table, vector } from './linear.js'
import { randomWeights } from './random-weights.js'
import { foldResnet, type ResnetConv } from './resnet-weights.js'
import { need } from './transformer.js'
import { type NameTable, resolveWeights, type Weights, type WeightTensor } from './weights.js'

export interface ResnetConfig {
  /** Dots a side of the picture. */
  readonly size: number
  /** For tiny pictures: those whose short side is below `below` are seen at `size`. Absent: all are seen alike. */
  readonly small?: { readonly below: number; readonly size: number }
  /** Blocks of each stage: 3, 4, 6, 3. */
  readonly stages: readonly number[]
  readonly classes: number
  /** Outputs of the stem, and of the narrow convolutions of each stage; blocks give four times that. */
  readonly widths: readonly number[]
  readonly stemWidth: number
  readonly normEpsilon: number
}

/** Means of red, green and blue over ImageNet in 0…255 (caffe); nothing is divided. */
export const RESNET_MEANS = [123.68, 116.779, 103.939] as const

/** A block's convolutions: 1×1, 3×3, 1×1, and the one beside them in the first block of a stage. */
const CONVS = { a: 'branch2a', b: 'branch2b', c: 'branch2c', short: 'branch1' } as const
const STEM_KERNEL = 7
/** Stages are numbered from 2, their blocks by letters. */
const letter = (block: number) => String.fromCharCode(97 + block)
const layerName = (stage: number, block: number) => `${stage + 2}${letter(block)}_`

/** Sizes from the names and tensors; those of pictures from the configuration (`size`, default 224, and `small`). */
export function resnetConfig({ metadata, weights }: CheckpointFacts): ResnetConfig {
  const stages: number[] = []
  const blocksOf = (stage: number) => {
    let count = 0
    while (weights.has(`res${layerName(stage, count)}branch2a/kernel`)) count++
    return count
  }
  for (let blocks = blocksOf(0); blocks > 0; blocks = blocksOf(stages.length)) stages.push(blocks)
  const [below, smallSize] = ['below', 'size'].map((name) => factAt(metadata, `config/small/${name}`))
  return {
    size: numberFact(metadata, ['config/size'], 224),
    ...(typeof below === 'number' && typeof smallSize === 'number' ? { small: { below, size: smallSize } } : {}),
    stages,
    classes: dimsOf(weights, ['fc1000/kernel'])[1]!,
    widths: stages.map((_, stage) => dimsOf(weights, [`res${layerName(stage, 0)}branch2a/kernel`])[3]!),
    stemWidth: dimsOf(weights, ['conv1/kernel'])[3]!,
    normEpsilon: batchNormEpsilon(metadata) ?? 1e-3,
  }
}

/** As the model's topology says it: the first of its batch norms. */
function batchNormEpsilon(metadata: Readonly<Record<string, unknown>>): number | undefined {
  const layers = factAt(metadata, 'topology/model_config/config/layers')
  if (!Array.isArray(layers)) return undefined
  const norm = layers.find((layer) => (layer as { class_name?: unknown } | null)?.class_name === 'BatchNormalization')
  const epsilon = (norm as { config?: { epsilon?: unknown } } | undefined)?.config?.epsilon
  return typeof epsilon === 'number' ? epsilon : undefined
}

/** Every convolution of the model, with what it is called there. */
export function resnetConvs({ stages, widths, stemWidth }: ResnetConfig): ResnetConv[] {
  const convs: ResnetConv[] = [
    { ours: 'stem', conv: 'conv1', norm: 'bn_conv1', kernel: STEM_KERNEL, in: 3, out: stemWidth, reversed: true },
  ]
  let width = stemWidth
  for (const [stage, blocks] of stages.entries())
    for (let block = 0; block < blocks; block++) {
      const narrow = widths[stage]!
      const shapes = {
        a: { kernel: 1, in: width, out: narrow },
        b: { kernel: 3, in: narrow, out: narrow },
        c: { kernel: 1, in: narrow, out: 4 * narrow },
        short: { kernel: 1, in: width, out: 4 * narrow },
      }
      for (const part of ['a', 'b', 'c', 'short'] as const) {
        if (part === 'short' && block > 0) continue
        const name = layerName(stage, block) + CONVS[part]
        convs.push({ ours: `${stage}.${block}/${part}`, conv: `res${name}`, norm: `bn${name}`, ...shapes[part] })
      }
      width = 4 * narrow
    }
  return convs
}

const NORM_PARTS = ['gamma', 'beta', 'moving_mean', 'moving_variance'] as const

/**
 * Convolutions with their batch norms folded in, [out, in, k, k] and a bias, and the head [classes, C].
 * @throws M4Error `TENSOR_MISSING`, `TENSOR_UNUSED`, `SHAPE_MISMATCH`
 */
export function resnetWeights(config: ResnetConfig, weights: Weights): Map<string, WeightTensor> {
  const convs = resnetConvs(config)
  const names: Record<string, string> = { head: 'fc1000/kernel', 'head/bias': 'fc1000/bias' }
  const features = 4 * config.widths.at(-1)!
  const shapes: Record<string, readonly number[]> = { head: [features, config.classes], 'head/bias': [config.classes] }
  for (const { ours, conv, norm, kernel, in: inner, out } of convs) {
    names[ours] = `${conv}/kernel`
    names[`${ours}/bias`] = `${conv}/bias`
    shapes[ours] = [kernel, kernel, inner, out]
    shapes[`${ours}/bias`] = [out]
    for (const part of NORM_PARTS) {
      names[`${ours}/${part}`] = `${norm}/${part}`
      shapes[`${ours}/${part}`] = [out]
    }
  }
  const layout: NameTable = { names }
  return foldResnet(convs, config.normEpsilon, resolveWeights(weights, layout, 0, shapes))
}

/** `picture` uint8 [H, W, 3] → `pixels` float32 [1, 3, S, S]: short side to S, centre, red, green and blue less their means. */
export function resnetFrontEndGraph({ size }: ResnetConfig): Graph {
  const g = new GraphBuilder('resnet.frontEnd')
  const crop = imageCrop(g, g.input('picture', 'uint8', ['H', 'W', 3]), size)
  const dots = g.op('Cast', [crop], { to: DTYPES.float32.onnx }, 'dots')
  const centred = g.op('Sub', [dots, g.float32(RESNET_MEANS, [3, 1, 1])], {}, 'centred')
  g.output('pixels', g.op('Unsqueeze', [centred, g.int64([0])], {}, 'batch'))
  return g.build()
}

/**
 * `pixels` [B, 3, S, S] as the front end gives them → `probabilities` [B, classes]; `pooled/s<n>` [B, C], the mean over places behind
 * block n: s7 (end of the second stage), s10 (in the middle of the third), s13, s16 for ResNet-50; and `patches` [B, P, C], every place
 * at the end of the last stage but one, row by row. There a picture of 224 dots has 14 × 14 places of 1024 numbers: four times as fine
 * as the last stage for boxes, points and masks, half the bytes in an adapter, and less bound to the classes of ImageNet.
 */
export function resnetGraph(
  config: ResnetConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  plan: QuantisationPlan,
): Graph {
  if (config.size % 32)
    throw new M4Error('INVALID_REQUEST', `ResNet takes pictures whose side is a multiple of 32, got ${config.size}.`, {
      hint: 'Use 224, or 160 for speed.',
    })
  const g = new GraphBuilder('resnet.encode')
  const conv = (scope: Scope, x: Value, path: string, strides: number, padding: number) => {
    const kind = linearKindOf(plan, path) === 'fp32' ? 'float32' : 'float16'
    const stored = table(scope, need(weights, path), kind, `${path.split('/').at(-1)}/weight`)
    const weight =
      kind === 'float32'
        ? stored
        : scope.op('Cast', [stored], { to: DTYPES.float32.onnx }, `${path.split('/').at(-1)}/wide`)
    const inputs = [x, weight, vector(scope, need(weights, `${path}/bias`), `${path.split('/').at(-1)}/bias`)]
    return scope.op(
      'Conv',
      inputs,
      { strides: [strides, strides], pads: new Array<number>(4).fill(padding) },
      path.split('/').at(-1)!,
    )
  }
  const relu = (scope: Scope, x: Value, name: string) => scope.op('Relu', [x], {}, name)
  const pixels = g.input('pixels', 'float32', ['B', 3, config.size, config.size])
  let x = maxPool(g.scope('pool'), relu(g, conv(g, pixels, 'stem', 2, 3), 'stem/relu'), config.size / 2)
  const wanted = pooledBlocks(config.stages)
  let count = 0
  for (const [stage, blocks] of config.stages.entries())
    for (let block = 0; block < blocks; block++) {
      const scope = g.scope(`${stage}.${block}`)
      const path = `${stage}.${block}`
      const strides = stage > 0 && block === 0 ? 2 : 1
      const a = relu(scope, conv(scope, x, `${path}/a`, strides, 0), 'a/relu')
      const b = relu(scope, conv(scope, a, `${path}/b`, 1, 1), 'b/relu')
      const c = conv(scope, b, `${path}/c`, 1, 0)
      const beside = block === 0 ? conv(scope, x, `${path}/short`, strides, 0) : x
      x = relu(scope, scope.op('Add', [c, beside], {}, 'sum'), 'out')
      count++
      if (wanted.has(count)) g.output(`pooled/s${count}`, spatialMean(scope, x))
      if (stage === config.stages.length - 2 && block === blocks - 1) g.output('patches', places(scope, x))
    }
  const features = spatialMean(g, x)
  const scores = linear(
    g,
    features,
    need(weights, 'head'),
    linearKindOf(plan, 'head'),
    'head',
    need(weights, 'head/bias'),
  )
  g.output('probabilities', g.op('Softmax', [scores], { axis: -1 }, 'softmax'))
  return g.build()
}

/** Ends of all stages but the first, and the middle of the last but one. */
function pooledBlocks(stages: readonly number[]): ReadonlySet<number> {
  const ends = stages.map((_, stage) => stages.slice(0, stage + 1).reduce((sum, blocks) => sum + blocks, 0))
  const middle = ends.length > 2 ? ends.at(-3)! + Math.floor(stages.at(-2)! / 2) : 0
  return new Set([...ends.slice(1), middle])
}

const spatialMean = (scope: Scope, x: Value) =>
  scope.op('ReduceMean', [x, scope.int64([2, 3])], { keepdims: 0 }, 'pooled')

/** [B, C, H, W] → [B, H·W, C] */
function places(scope: Scope, x: Value): Value {
  const flat = scope.op(
    'Reshape',
    [x, scope.int64([-1, Number(x.dims[1]), Number(x.dims[2]) * Number(x.dims[3])])],
    {},
    'flat',
  )
  return scope.op('Transpose', [flat], { perm: [0, 2, 1] }, 'patches')
}

/** 3×3 with stride 2 and a zero border, which changes nothing behind a ReLU: first along rows, then along columns. */
function maxPool(scope: Scope, x: Value, side: number): Value {
  const padded = scope.op('Pad', [x, scope.int64([0, 0, 1, 1, 0, 0, 1, 1])], {}, 'padded')
  const along = (value: Value, axis: 2 | 3, name: string) => {
    const windows = [0, 1, 2].map((start) =>
      scope.op(
        'Slice',
        [value, ...[[start], [start + side - 1], [axis], [2]].map((numbers) => scope.int64(numbers))],
        {},
        `${name}/${start}`,
      ),
    )
    return scope.op('Max', windows, {}, name)
  }
  return along(along(padded, 3, 'across'), 2, 'out')
}

/** Seeded weights as `resnetWeights` gives them. */
export function resnetRandom(config: ResnetConfig, seed: number): Map<string, WeightTensor> {
  const shapes: Record<string, readonly number[]> = {
    head: [config.classes, 4 * config.widths.at(-1)!],
    'head/bias': [config.classes],
  }
  for (const { ours, kernel, in: inner, out } of resnetConvs(config)) {
    shapes[ours] = [out, inner, kernel, kernel]
    shapes[`${ours}/bias`] = [out]
  }
  return randomWeights(shapes, () => 1, seed)
}
