/** A case's Stable Diffusion checkpoint: each part as a session, opened when it is first asked for. */

import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type Checkpoint, openCheckpoint } from '../checkpoint/index.js'
import { type HostTensor, hostTensor } from '../core/tensor.js'
import type { Session, Tensor } from '../engine/types.js'
import { weightsOf } from '../firmware/build.js'
import type { Graph } from '../graph/index.js'
import {
  augmentConfig,
  augmentGraph,
  augmentWeights,
  clipTextConfig,
  clipTextGraph,
  clipTextWeights,
  type DiffusionPart,
  diffusionPart,
  unetConfig,
  unetGraph,
  unetWeights,
  vaeConfig,
  vaeDecoderGraph,
  vaeEncoderGraph,
  vaeWeights,
} from '../models/index.js'
import { isFile, type ParityCase, readJsonFile } from './case.js'
import { EXACT, openGraph } from './graphs.js'
import type { CaseRun } from './types.js'

/** `textSkip`: the text encoder without its last layer ("clip skip 2"). */
export type DiffusionGraph = 'text' | 'textSkip' | 'unet' | 'encode' | 'decode' | 'augment'

export interface DiffusionModel extends Disposable {
  session(graph: DiffusionGraph): Promise<Session>
  /** One run, its outputs copied. */
  run(graph: DiffusionGraph, feeds: Readonly<Record<string, HostTensor>>): Promise<Record<string, HostTensor>>
}

/** @throws M4Error as the reader, the models and the engine do */
export function openDiffusion(run: CaseRun): DiffusionModel {
  const { parityCase, engine, signal } = run
  const path = parityCase.checkpointPath()
  // A diffusers case names model_index.json: its checkpoint is the folder.
  const checkpoint = openCheckpoint(path.endsWith('model_index.json') ? dirname(path) : path)
  const beside = normaliserBeside(parityCase)
  const sessions = new Map<DiffusionGraph, Session>()
  const dispose = () => {
    for (const session of sessions.values()) session.dispose()
    beside?.dispose()
    checkpoint.dispose()
  }
  const open = async (name: DiffusionGraph) => {
    const known = sessions.get(name)
    if (known) return known
    const session = await openGraph(engine, graphOf(name, parityCase, checkpoint, beside), signal)
    sessions.set(name, session)
    return session
  }
  return {
    session: open,
    run: async (name, feeds) => {
      const session = await open(name)
      const tensors: Tensor[] = []
      try {
        const inputs: Record<string, Tensor> = {}
        for (const [key, { dtype, dims, data }] of Object.entries(feeds)) {
          const tensor = engine.tensor(dtype, dims, data)
          inputs[key] = tensor
          tensors.push(tensor)
        }
        const outputs = await session.run(inputs, undefined, { signal })
        tensors.push(...Object.values(outputs))
        const copies = Object.entries(outputs).map(([key, { dtype, dims, data }]) => [
          key,
          hostTensor(dtype, dims, data.slice()),
        ])
        return Object.fromEntries(copies)
      } finally {
        for (const tensor of tensors) tensor.dispose()
      }
    },
    [Symbol.dispose]: dispose,
  }
}

/** diffusers keeps unCLIP's statistics in a file of their own. */
function normaliserBeside(parityCase: ParityCase): Checkpoint | undefined {
  const file = parityCase.files.find(({ file: name }) => /image_normalizer.*\.(safetensors|bin|ckpt)$/.test(name))?.file
  return file === undefined || !existsSync(parityCase.path(file)) ? undefined : openCheckpoint(parityCase.path(file))
}

function graphOf(name: DiffusionGraph, parityCase: ParityCase, checkpoint: Checkpoint, beside?: Checkpoint): Graph {
  const part: DiffusionPart = PART_OF[name]
  const source = part === 'augment' && beside ? beside : checkpoint
  const weights = diffusionPart(weightsOf(source), part)
  const facts = { format: source.format, metadata: { config: configOf(parityCase, checkpoint, part) }, weights }
  const { quantisation, embedding } = EXACT
  switch (name) {
    case 'text':
    case 'textSkip': {
      const config = clipTextConfig(facts)
      const used = { ...config, layers: config.layers - (name === 'text' ? 0 : 1) }
      return clipTextGraph(used, clipTextWeights(config, weights), { quantisation, embedding })
    }
    case 'unet': {
      const config = unetConfig(facts)
      return unetGraph(config, unetWeights(config, weights), quantisation)
    }
    case 'augment': {
      const config = augmentConfig(facts)
      return augmentGraph(config, augmentWeights(config, weights))
    }
    default: {
      const config = vaeConfig(facts)
      const make = name === 'encode' ? vaeEncoderGraph : vaeDecoderGraph
      return make(config, vaeWeights(config, weights), quantisation)
    }
  }
}

const PART_OF: Readonly<Record<DiffusionGraph, DiffusionPart>> = {
  text: 'text',
  textSkip: 'text',
  unet: 'unet',
  encode: 'vae',
  decode: 'vae',
  augment: 'augment',
}

/** What the case says of the part, then its config.json, then what the checkpoint says itself: the last wins. */
function configOf(parityCase: ParityCase, checkpoint: Checkpoint, part: DiffusionPart): Record<string, unknown> {
  const section = (value: unknown): Record<string, unknown> =>
    typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  const beside = ['config.json', ...parityCase.files.map(({ file }) => file).filter((file) => LDM_CONFIG.test(file))]
  const files = beside.map((file) => join(parityCase.folder, file)).filter(isFile)
  return Object.assign(
    {},
    parityCase.config,
    section(parityCase.config[part]),
    ...files.map((file) => section(readJsonFile(file))),
    section(section(checkpoint.metadata.config)[part]),
  )
}

/** LDM's yaml, as JSON. */
const LDM_CONFIG = /inference[^/]*\.json$/
