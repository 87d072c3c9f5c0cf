/** Six rows of the table of architectures: `imagebind-vision`, `imagebind-text`, … A path wakes only the towers that it needs. */

import type { Architecture } from '../architecture.js'
import { type ImageBindConfig, imagebindConfig } from './config.js'
import { imagebindGraph } from './encoder.js'
import { IMAGEBIND_MODALITIES, type ImageBindModality, TOWERS } from './modalities.js'
import { imagebindHeadGraph, similarityGraph } from './post.js'
import { imagebindRandom, imagebindWeights } from './weights.js'

export type ImageBindName = `imagebind-${ImageBindModality}`

/**
 * The configuration of a module of random weights is an `ImageBindConfig`; a checkpoint's is found in its tensors.
 * Graphs: `encode`, `head` (for heads of one's own) and `similarity`.
 */
const tower = (modality: ImageBindModality): Architecture<ImageBindConfig> => ({
  configure: (facts) => imagebindConfig(modality, facts),
  weights: imagebindWeights,
  random: imagebindRandom,
  graphs: (config, weights, { quantisation, embedding, encoderAdapters = false }) => ({
    encode: () => imagebindGraph(config, weights, { quantisation, embedding, adapters: encoderAdapters }),
    head: () => imagebindHeadGraph(config),
    similarity: () => similarityGraph(config.joint),
  }),
  runtimeConfig: (config) => ({ ...config, clips: TOWERS[modality].clips }),
})

export const IMAGEBIND_ARCHITECTURES = Object.fromEntries(
  IMAGEBIND_MODALITIES.map((modality) => [`imagebind-${modality}`, tower(modality)]),
) as Readonly<Record<ImageBindName, Architecture<ImageBindConfig>>>
