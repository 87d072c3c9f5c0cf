/** What training cases of ImageBind share: the case's tower, one step's gradients, and the names of the reference. */

import { openCheckpoint } from '../../checkpoint/index.js'
import { type HostTensor, hostTensor } from '../../core/tensor.js'
import { weightsOf } from '../../firmware/build.js'
import {
  type ImageBindConfig,
  type ImageBindModality,
  imagebindConfig,
  imagebindLayout,
  imagebindWeights,
} from '../../models/index.js'
import { type EncoderProgram, type ImageBindTrainingGraph, imagebindTrainingGraph } from '../../train/encoders/index.js'
import type { TrainedWeight } from '../../train/full.js'
import { stepGraph } from '../../train/step-graph.js'
import type { ParityCase } from '../case.js'
import type { CaseRun } from '../types.js'
import { runOnce } from './gradients.js'

export interface CaseTower extends ImageBindTrainingGraph, Disposable {
  readonly config: ImageBindConfig
}

export function openTower(parityCase: ParityCase, modality: ImageBindModality): CaseTower {
  const checkpoint = openCheckpoint(parityCase.checkpointPath())
  const weights = weightsOf(checkpoint)
  const config = imagebindConfig(modality, { format: 'torch', metadata: { config: parityCase.config }, weights })
  const built = imagebindTrainingGraph(config, imagebindWeights(config, weights))
  return { ...built, config, [Symbol.dispose]: () => checkpoint.dispose() }
}

/** `loss` and `gradient/<parameter>` at the given values. */
export async function gradientsAt(
  { engine, signal }: CaseRun,
  { parameters, program }: EncoderProgram,
  values: ReadonlyMap<string, Float32Array>,
  batch: Readonly<Record<string, HostTensor>>,
): Promise<Map<string, HostTensor>> {
  const feeds = new Map(Object.entries(batch))
  for (const { name, dims } of parameters)
    feeds.set(`p/${name}`, hostTensor('float32', dims, values.get(name)!.slice() as never))
  return runOnce(engine, stepGraph('train', parameters, program, 'gradients'), feeds, signal)
}

/** Gradients of weights of the table by the checkpoint's names: `grad.<name>`, thirds of a fused matrix one below the other. */
export function weightGradients(
  modality: ImageBindModality,
  trained: readonly TrainedWeight[],
  results: ReadonlyMap<string, HostTensor>,
): Map<string, HostTensor> {
  const { names } = imagebindLayout(modality)
  const parts = new Map<string, { readonly part: number; readonly tensor: HostTensor }[]>()
  for (const { name } of trained) {
    const [, layer] = /^layers\.(\d+)\//.exec(name) ?? []
    const source = names[name.replace(/^layers\.\d+/, 'layers.{}')]!
    const theirs = (typeof source === 'string' ? source : source.name).replace('{}', layer ?? '')
    const tensor = results.get(`gradient/${name}`)!
    parts.set(theirs, [...(parts.get(theirs) ?? []), { part: typeof source === 'string' ? 0 : source.part, tensor }])
  }
  return new Map([...parts].map(([name, list]) => [`grad.${name}`, stacked(list)]))
}

function stacked(list: readonly { readonly part: number; readonly tensor: HostTensor }[]): HostTensor {
  const ordered = list.toSorted((a, b) => a.part - b.part).map(({ tensor }) => tensor)
  if (ordered.length === 1) return ordered[0]!
  const rows = ordered.reduce((sum, { dims }) => sum + dims[0]!, 0)
  const data = ordered.flatMap((tensor) => [...(tensor.data as Float32Array)])
  return hostTensor('float32', [rows, ...ordered[0]!.dims.slice(1)], Float32Array.from(data))
}
