/** The weights of one tower under our names: a checkpoint's, those tuned on top of it, or seeded ones. */

import { formatDims } from '../../core/dims.js'
import { M4Error, unknownName } from '../../core/errors.js'
import { randomWeights } from '../random-weights.js'
import { stackShapes } from '../transformer.js'
import { resolveWeights, type Weights, type WeightTensor } from '../weights.js'
import { type ImageBindConfig, type ImageBindStem, stemChannels } from './config.js'
import { imagebindLayout } from './modalities.js'
import { interpolatePositions } from './positions.js'

/** Expected shapes under our names. */
export function imagebindShapes(config: ImageBindConfig): Record<string, readonly number[]> {
  const { width, joint, positions, stem } = config
  const names = Object.keys(imagebindLayout(config.modality).names)
  const shapes = stackShapes(names, config, {
    cls: [1, 1, width],
    positions: [1, positions, width],
    head: [joint, width],
    logScale: [1],
    'layers.{}/attn/extraKey': [1, 1, width],
    'layers.{}/attn/extraValue': [1, 1, width],
    ...stemShapes(stem, width),
  })
  return Object.fromEntries(names.map((name) => [name, shapes[name]!]))
}

function stemShapes(stem: ImageBindStem, width: number): Record<string, readonly number[]> {
  if (stem.kind === 'tokens') return { embed: [stem.vocabulary, width] }
  if (stem.kind === 'windows') return { stem: [width, stemChannels(stem) * stem.kernel] }
  const { channels, frames, kernel } = stem
  return { stem: frames > 1 ? [width, channels, frames, kernel, kernel] : [width, channels, kernel, kernel] }
}

/**
 * The tensors of one tower under our names; positions interpolated where the configuration asks for another size of picture.
 * @throws M4Error `TENSOR_MISSING`, `TENSOR_UNUSED`, `SHAPE_MISMATCH`
 */
export function imagebindWeights(config: ImageBindConfig, weights: Weights): Map<string, WeightTensor> {
  const resolved = resolveWeights(weights, imagebindLayout(config.modality), config.layers, imagebindShapes(config))
  return placed(config, resolved)
}

/** Seeded weights of the same names and shapes. */
export function imagebindRandom(config: ImageBindConfig, seed: number): Map<string, WeightTensor> {
  return placed(
    config,
    randomWeights(imagebindShapes(config), () => config.layers, seed),
  )
}

const placed = (config: ImageBindConfig, weights: ReadonlyMap<string, WeightTensor>) =>
  new Map(weights).set('positions', interpolatePositions(config, weights.get('positions')!))

/** Files of tuned parts (`imagebind-heads_last.pth` and the like) lack the beginning of the names. */
const TUNED = { heads: 'modality_heads.', postprocessors: 'modality_postprocessors.' } as const
export type TunedPart = keyof typeof TUNED

/**
 * A checkpoint with tuned heads or scales in place of its own, as ImageBind-LoRA and MobileFM write them: state dicts of all
 * modalities, `vision.0.weight`. What such a file holds must be in the checkpoint too: nothing is loaded in vain.
 * @throws M4Error `UNKNOWN_NAME`, `SHAPE_MISMATCH`
 */
export function withTunedParts(weights: Weights, tuned: Readonly<Partial<Record<TunedPart, Weights>>>): Weights {
  const merged = new Map(weights)
  for (const [part, prefix] of Object.entries(TUNED) as [TunedPart, string][])
    for (const [name, tensor] of tuned[part] ?? []) {
      const base = weights.get(prefix + name)
      if (!base) throw unknownName(`tensor of tuned ${part}`, prefix + name, weights.keys())
      if (base.dims.join() !== tensor.dims.join())
        throw new M4Error(
          'SHAPE_MISMATCH',
          `Tuned ${part}: ${name} is ${formatDims(tensor.dims)}, the checkpoint has ${formatDims(base.dims)}.`,
          { hint: 'Were they tuned on this checkpoint?' },
        )
      merged.set(prefix + name, tensor)
    }
  return merged
}
