/** ImageBind cases: embeddings of each tower, with and without adapters and tuned heads, and how alike they are. */

import type { HostTensor } from '../core/tensor.js'
import { IMAGEBIND_MODALITIES, type ImageBindModality } from '../models/index.js'
import type { OutputSpec, ParityCase } from './case.js'
import { type ImageBindModel, openImageBind, type Variant } from './imagebind-model.js'
import type { CaseRun, Runner } from './types.js'

/** Names of inputs. */
const INPUTS: Readonly<Record<string, ImageBindModality>> = Object.freeze({
  image: 'vision',
  video: 'vision',
  tokens: 'text',
  melspec: 'audio',
  imu: 'imu',
  depth: 'depth',
  thermal: 'thermal',
})

/** What the end of an output's name says; nothing: all that the case has of adapters. */
const VARIANTS: Readonly<Record<string, Variant>> = Object.freeze({
  '': { adapter: true, heads: false },
  _without_lora: { adapter: false, heads: false },
  _base_causal: { adapter: false, heads: false },
  _lora_only: { adapter: true, heads: false },
  _lora_noncausal: { adapter: true, heads: false },
  _with_heads: { adapter: true, heads: true },
})

const ONE = /^(?:(vision|text|audio|imu|depth|thermal)_)?(embedding|head)(_\w+)?$/
const TWO = /^(\w+?)_x_(\w+?)_(logits|softmax)$/
/** `softmax of logits/20` */
const TEMPERATURE = /logits\s*\/\s*(\d+(?:\.\d+)?)/

export const runImageBind: Runner = async (run) => {
  const inputs = new Map<ImageBindModality, HostTensor>()
  for (const [name, modality] of Object.entries(INPUTS))
    if (run.parityCase.hasInput(name)) inputs.set(modality, run.parityCase.input(name))
  return { tensors: await imagebindOutputs(run, inputs) }
}

/** Every output of the case that these inputs lead to. */
export async function imagebindOutputs(
  run: CaseRun,
  inputs: ReadonlyMap<ImageBindModality, HostTensor>,
): Promise<Map<string, HostTensor>> {
  using model = openImageBind(run)
  const { parityCase } = run
  const tensors = new Map<string, HostTensor>()
  for (const spec of parityCase.outputs) {
    const tensor = (await single(model, parityCase, inputs, spec)) ?? (await pair(model, parityCase, inputs, spec))
    if (tensor) tensors.set(spec.name, tensor)
  }
  return tensors
}

type Inputs = ReadonlyMap<ImageBindModality, HostTensor>

const isModality = (name: unknown): name is ImageBindModality => IMAGEBIND_MODALITIES.includes(name as never)

async function single(model: ImageBindModel, { config }: ParityCase, inputs: Inputs, { name }: OutputSpec) {
  const [, named, what, suffix = ''] = ONE.exec(name) ?? []
  const modality = named ?? config.modality
  const input = isModality(modality) ? inputs.get(modality) : undefined
  const variant = Object.hasOwn(VARIANTS, suffix) ? VARIANTS[suffix] : undefined
  if (!what || !input || !variant) return undefined
  return (await model.encode(modality as ImageBindModality, input, variant))[what as 'embedding' | 'head']
}

async function pair(model: ImageBindModel, parityCase: ParityCase, inputs: Inputs, { name }: OutputSpec) {
  const [, a, b, what] = TWO.exec(name) ?? []
  if (!isModality(a) || !isModality(b) || !inputs.has(a) || !inputs.has(b)) return undefined
  const heads = parityCase.files.some(({ file }) => /-heads_/.test(file))
  const embed = async (modality: ImageBindModality) =>
    (await model.encode(modality, inputs.get(modality)!, { adapter: true, heads })).embedding
  const { logits, probabilities } = await model.similarity(
    await embed(a),
    await embed(b),
    Number(TEMPERATURE.exec(description(parityCase, name))?.[1] ?? 1),
  )
  return what === 'logits' ? logits : probabilities
}

function description({ json }: ParityCase, name: string): string {
  const declared = json.outputs as readonly { readonly name?: unknown; readonly desc?: unknown }[]
  return String(declared.find((output) => output.name === name)?.desc ?? '')
}
