/** Sizes and weights of the small picture generator, by our own names: no one else publishes this layout. */

import { M4Error } from '../../core/errors.js'
import type { CheckpointFacts } from '../architecture.js'
import { countLayers, dimsOf, numberFact } from '../facts.js'
import { stackShapes } from '../transformer.js'
import { type NameTable, resolveWeights, type Weights, type WeightTensor } from '../weights.js'

export interface SmallFlowConfig {
  /** 1: shades of grey; 3: colours. */
  readonly channels: number
  /** Dots along each side of a picture. */
  readonly size: number
  /** Dots along each side of a patch, which is one token. */
  readonly patch: number
  /** C */
  readonly width: number
  readonly feedForward: number
  readonly layers: number
  readonly heads: number
  /** Of the vector that a picture is painted after, E. */
  readonly joint: number
  /** Of what each layer hears of that vector and of the time, W. */
  readonly conditionWidth: number
}

/** That of `lite`: 28 × 28 shades of grey after vectors of all-MiniLM-L6-v2. */
export const SMALL_FLOW_28: SmallFlowConfig = {
  channels: 1,
  size: 28,
  patch: 14,
  width: 224,
  feedForward: 896,
  layers: 4,
  heads: 7,
  joint: 384,
  conditionWidth: 128,
}

const TIMES = 1001
/** Sinusoids of a time. */
export const TIME_WAVES = 128
/** Times are whole thousandths: 0 is noise, 1000 the picture. */
export const LAST_TIME = TIMES - 1

/** What is left of the way at a time, as the velocity divides by it: never so little that errors at the end outweigh the rest. */
export const restOfWay = (time: number): number => Math.max(1 - time / LAST_TIME, 0.05)

const pair = (name: string) => [name, `${name}/bias`]

const NAMES = [
  ...pair('patches/in'),
  'positions',
  ...pair('time/fc1'),
  ...pair('time/fc2'),
  ...pair('joint/fc1'),
  ...pair('joint/fc2'),
  ...pair('layers.{}/modulate'),
  ...['q', 'k', 'v', 'o'].flatMap((part) => pair(`layers.{}/attn/${part}`)),
  ...pair('layers.{}/mlp/fc1'),
  ...pair('layers.{}/mlp/fc2'),
  ...pair('out/modulate'),
  ...pair('patches/out'),
]

const LAYOUT: NameTable = { names: Object.fromEntries(NAMES.map((name) => [name, name])) }

/**
 * Sizes from the tensors; `heads` and `channels` from the recipe's `config`.
 * @throws M4Error `TENSOR_MISSING`, `FORMAT_INVALID`
 */
export function smallFlowConfig({ weights, metadata }: CheckpointFacts): SmallFlowConfig {
  const [width, dots] = dimsOf(weights, ['patches/in']) as [number, number]
  const [feedForward] = dimsOf(weights, ['layers.0/mlp/fc1']) as [number]
  const [conditionWidth, joint] = dimsOf(weights, ['joint/fc1']) as [number, number]
  const [tokens] = dimsOf(weights, ['positions']) as [number]
  const channels = numberFact(metadata, ['config/channels'])
  const patch = Math.sqrt(dots / channels)
  const size = Math.sqrt(tokens) * patch
  if (!Number.isInteger(patch) || !Number.isInteger(size))
    throw new M4Error(
      'FORMAT_INVALID',
      `Expected square patches on a square, got ${tokens} patches of ${dots} numbers.`,
    )
  return {
    channels,
    size,
    patch,
    width,
    feedForward,
    layers: countLayers(weights, ['layers.{}/mlp/fc1']),
    heads: numberFact(metadata, ['config/heads']),
    joint,
    conditionWidth,
  }
}

/** Numbers of one patch. */
export const patchWidth = ({ channels, patch }: SmallFlowConfig): number => channels * patch * patch

export function smallFlowShapes(config: SmallFlowConfig): Record<string, readonly number[]> {
  const { width, joint, conditionWidth, size, patch } = config
  const dots = patchWidth(config)
  const linear = (name: string, out: number, from: number) => ({ [name]: [out, from], [`${name}/bias`]: [out] })
  return stackShapes(NAMES, config, {
    ...linear('patches/in', width, dots),
    positions: [(size / patch) ** 2, width],
    ...linear('time/fc1', conditionWidth, TIME_WAVES),
    ...linear('time/fc2', conditionWidth, conditionWidth),
    ...linear('joint/fc1', conditionWidth, joint),
    ...linear('joint/fc2', conditionWidth, conditionWidth),
    ...linear('layers.{}/modulate', 6 * width, conditionWidth),
    ...linear('out/modulate', 2 * width, conditionWidth),
    ...linear('patches/out', dots, width),
  })
}

export const smallFlowWeights = (config: SmallFlowConfig, weights: Weights): Map<string, WeightTensor> =>
  resolveWeights(weights, LAYOUT, config.layers, smallFlowShapes(config))
