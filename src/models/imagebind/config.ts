/** Sizes of one ImageBind tower, from its tensors. */

import { M4Error } from '../../core/errors.js'
import type { CheckpointFacts } from '../architecture.js'
import { countLayers, dimsOf, numberFact } from '../facts.js'
import { type ImageBindModality, imagebindLayout, TOWERS } from './modalities.js'
import { FRAME_CHANNELS } from './motion-frame.js'

export interface ImageBindConfig {
  readonly modality: ImageBindModality
  readonly width: number
  readonly heads: number
  readonly layers: number
  readonly feedForward: number
  /** Width of the joint space. */
  readonly joint: number
  /** Trained positions, the class token's included. */
  readonly positions: number
  /** The scale of embeddings is cut off here. */
  readonly maxScale: number
  readonly normEpsilon: number
  readonly stemNormEpsilon: number
  readonly stem: ImageBindStem
}

export type ImageBindStem =
  /** `frames` pictures of `channels` at a time. Another size than the trained one interpolates the positions. */
  | {
      readonly kind: 'patches'
      readonly channels: number
      readonly frames: number
      readonly kernel: number
      readonly stride: number
      readonly height: number
      readonly width: number
    }
  /**
   * Windows of `kernel` samples of all channels, each `step` samples after the one before, in recordings of `samples`. Fewer windows
   * than positions are filled up with zeros: in MobileFM's fork `step` is a quarter of `kernel`, and 3 are missing.
   * With `gravity` the stem reads more than was measured (`gravityFrame`), and heads read more than the class token.
   */
  | {
      readonly kind: 'windows'
      readonly channels: number
      readonly kernel: number
      readonly step: number
      readonly samples: number
      /** Absent: as ImageBind, 400. */
      readonly sampleRateHz?: number
      readonly gravity?: true
    }
  | { readonly kind: 'tokens'; readonly vocabulary: number }

/** 3 axes of acceleration, 3 of rotation. */
const IMU_CHANNELS = 6
/** Of the spectrogram that the audio tower was trained on: mel bands, frames, and how far its patches are apart. */
const AUDIO = { melBands: 128, frames: 204, stride: 10 }

/**
 * Sizes from the tensors. The number of heads is the published model's unless the configuration says it
 * (`<modality>.heads`), as it must for other widths.
 * @throws M4Error `FORMAT_INVALID`, `TENSOR_MISSING`, `SHAPE_MISMATCH`
 */
export function imagebindConfig(modality: ImageBindModality, facts: CheckpointFacts): ImageBindConfig {
  const { metadata, weights } = facts
  const { names } = imagebindLayout(modality)
  const dims = (ours: string) => dimsOf(weights, [String(names[ours]).replace('{}', '0')])
  const fact = factsOf(modality, metadata)
  const [, positions, width] = dims('positions') as [number, number, number]
  const { published } = TOWERS[modality]
  const heads = fact('heads', width === published.width ? published.heads : undefined)
  if (width % heads)
    throw new M4Error('FORMAT_INVALID', `imagebind-${modality}: ${heads} heads cannot share a width of ${width}.`, {
      hint: `Is config/${modality}/heads the one of this checkpoint?`,
    })
  return {
    modality,
    width,
    heads,
    layers: countLayers(weights, [String(names['layers.{}/mlp/fc1'])]),
    feedForward: dims('layers.{}/mlp/fc1')[0]!,
    joint: dims('head')[0]!,
    positions,
    maxScale: numberFact(metadata, ['config/maxLogitScale', 'config/clip'], 100),
    normEpsilon: numberFact(metadata, ['config/lnEps'], 1e-6),
    stemNormEpsilon: numberFact(metadata, ['config/stemLnEps'], 1e-5),
    stem: STEMS[modality](dims, positions, fact),
  }
}

type Fact = (key: string, fallback?: number) => number

/** A number of one tower: of a configuration of all towers, or of this one alone. */
function factsOf(modality: ImageBindModality, metadata: Readonly<Record<string, unknown>>): Fact {
  const alone = (metadata.config as { modality?: unknown } | undefined)?.modality === modality
  return (key, fallback) =>
    numberFact(
      metadata,
      [...(alone ? [`config/${key}`] : []), `config/${modality}/${key}`, `config/allModalities/${modality}/${key}`],
      fallback,
    )
}

type Dims = (ours: string) => readonly number[]
type StemOf = (dims: Dims, positions: number, fact: Fact) => ImageBindStem

/** Square pictures whose patches do not overlap. [C, channels, frames, k, k] or [C, 1, k, k] */
const squarePatches: StemOf = (dims, positions) => {
  const shape = dims('stem')
  const kernel = shape.at(-1)!
  const side = Math.sqrt(positions - 1) * kernel
  if (!Number.isInteger(side))
    throw new M4Error('SHAPE_MISMATCH', `ImageBind: ${positions - 1} positions are no square of patches.`, {
      hint: 'Is this an ImageBind checkpoint of square pictures?',
    })
  const frames = shape.length === 5 ? shape[2]! : 1
  return { kind: 'patches', channels: shape[1]!, frames, kernel, stride: kernel, height: side, width: side }
}

const STEMS: Readonly<Record<ImageBindModality, StemOf>> = Object.freeze({
  vision: squarePatches,
  depth: squarePatches,
  thermal: squarePatches,
  text: (dims) => ({ kind: 'tokens', vocabulary: dims('embed')[0]! }),
  audio: (dims, positions, fact) => {
    const kernel = dims('stem').at(-1)!
    const stride = fact('stride', AUDIO.stride)
    const [height, width] = [fact('mel', AUDIO.melBands), fact('frames', AUDIO.frames)]
    const along = (size: number) => Math.floor((size - kernel) / stride) + 1
    if (along(height) * along(width) !== positions - 1)
      throw new M4Error(
        'SHAPE_MISMATCH',
        `ImageBind audio: ${height}x${width} gives ${along(height) * along(width)} patches, the checkpoint has ${positions - 1}.`,
        { hint: 'Say mel, frames and stride of this checkpoint in config/audio.' },
      )
    return { kind: 'patches', channels: dims('stem')[1]!, frames: 1, kernel, stride, height, width }
  },
  imu: (dims, positions, fact) => {
    const gravity = fact('gravity', 0) === 1 ? { gravity: true as const } : {}
    const sampleRateHz = fact('sampleRateHz', 0)
    const kernel = dims('stem')[1]! / stemChannels({ channels: IMU_CHANNELS, ...gravity })
    const step = fact('step', kernel)
    return {
      kind: 'windows',
      channels: IMU_CHANNELS,
      kernel,
      step,
      samples: (positions - 1) * step,
      ...(sampleRateHz ? { sampleRateHz } : {}),
      ...gravity,
    }
  },
})

/** Patches of a picture of the configuration's size, or windows, or tokens. */
export function patchCount({ stem, positions }: ImageBindConfig): number {
  if (stem.kind === 'windows') return positions - 1
  if (stem.kind === 'tokens') return positions
  const along = (size: number) => Math.floor((size - stem.kernel) / stem.stride) + 1
  return along(stem.height) * along(stem.width)
}

/** Windows of zeros behind those of a recording. @throws M4Error `SHAPE_MISMATCH` for recordings that are too long or too short */
export function missingWindows({ kernel, step, samples }: WindowStem, positions: number): number {
  const found = Math.floor((samples - kernel) / step) + 1
  const missing = positions - 1 - found
  if (Number.isInteger(step) && found > 0 && missing >= 0 && missing < kernel / step) return missing
  throw new M4Error(
    'SHAPE_MISMATCH',
    `imagebind-imu: ${samples} samples in windows of ${kernel}, ${step} apart, do not give the ${positions - 1} windows of the checkpoint.`,
    { hint: `Give ${(positions - 1) * step} samples.` },
  )
}

/** What the filters of the stem see. */
export const stemChannels = ({ channels, gravity }: Pick<WindowStem, 'channels' | 'gravity'>): number =>
  channels + (gravity ? FRAME_CHANNELS : 0)

export type WindowStem = Extract<ImageBindStem, { kind: 'windows' }>

/** The same tower for pictures of another size. @throws M4Error `USAGE` for towers that see no pictures */
export function withPictureSize(config: ImageBindConfig, height: number, width: number): ImageBindConfig {
  const { stem } = config
  if (stem.kind !== 'patches')
    throw new M4Error('USAGE', `imagebind-${config.modality} takes no pictures, so it has no picture size.`)
  return { ...config, stem: { ...stem, height, width } }
}
