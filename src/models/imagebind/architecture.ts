/** Six rows of the table of architectures: `imagebind-vision`, `imagebind-text`, … A path wakes only the towers that it needs. */

import type { Graph } from '../../graph/index.js'
import type { Architecture } from '../architecture.js'
import {
  CLIP_PIXELS,
  fbankFrontEndGraph,
  IMAGEBIND_SOUND,
  IMAGEBIND_VIDEO,
  imageFrontEndGraph,
  videoFrontEndGraph,
} from '../front-ends/index.js'
import { type ImageBindConfig, imagebindConfig } from './config.js'
import { imagebindGraph } from './encoder.js'
import { IMAGEBIND_MODALITIES, type ImageBindModality, TOWERS } from './modalities.js'
import { imagebindHeadGraph, similarityGraph } from './post.js'
import { imagebindRandom, imagebindWeights } from './weights.js'

type FrontEnds = (config: ImageBindConfig) => Record<string, () => Graph>

/** From samples or dots of a file. Depth and thermal pictures have no published front end; windows of motion are cut by the host. */
const FRONT_ENDS: { readonly [M in ImageBindModality]?: FrontEnds } = Object.freeze({
  vision: ({ stem }) => {
    if (stem.kind !== 'patches' || stem.height !== stem.width) return {}
    const size = stem.height
    return {
      frontEnd: () => imageFrontEndGraph({ ...CLIP_PIXELS, size }),
      ...(stem.frames > 1
        ? { video: () => videoFrontEndGraph({ ...IMAGEBIND_VIDEO, size, frames: stem.frames }) }
        : {}),
    }
  },
  audio: ({ stem }) =>
    stem.kind === 'patches'
      ? { frontEnd: () => fbankFrontEndGraph({ ...IMAGEBIND_SOUND, melBands: stem.height, columns: stem.width }) }
      : {},
})

export type ImageBindName = `imagebind-${ImageBindModality}`

/**
 * The configuration of a module of random weights is an `ImageBindConfig`; a checkpoint's is found in its tensors.
 * Graphs: `encode`, `head` (for heads of one's own), `similarity`, and what makes its input: `frontEnd`, and `video` of pictures.
 */
const tower = (modality: ImageBindModality): Architecture<ImageBindConfig> => ({
  configure: (facts) => imagebindConfig(modality, facts),
  weights: imagebindWeights,
  random: imagebindRandom,
  graphs: (config, weights, { quantisation, embedding, encoderAdapters = false }) => ({
    encode: () => imagebindGraph(config, weights, { quantisation, embedding, adapters: encoderAdapters }),
    head: () => imagebindHeadGraph(config),
    similarity: () => similarityGraph(config.joint),
    ...FRONT_ENDS[modality]?.(config),
  }),
  runtimeConfig: (config) => ({ ...config, clips: TOWERS[modality].clips }),
})

export const IMAGEBIND_ARCHITECTURES = Object.fromEntries(
  IMAGEBIND_MODALITIES.map((modality) => [`imagebind-${modality}`, tower(modality)]),
) as Readonly<Record<ImageBindName, Architecture<ImageBindConfig>>>
