/** Training cases of LLaMA: loss and gradients of an adapter, and thirty steps of AdamW. */

import { readPeftAdapter, usableAdapter } from '../../adapters/index.js'
import { unpackHeads, unpackPart } from '../../adapters/places.js'
import type { AdapterTensors } from '../../adapters/types.js'
import { M4Error } from '../../core/errors.js'
import { sourceHeadRow } from '../../core/heads.js'
import { type HostTensor, hostTensor } from '../../core/tensor.js'
import type { Abi } from '../../firmware/manifest.js'
import type { Graph } from '../../graph/index.js'
import { ARCHITECTURES, LLAMA_LAYOUTS, withOrigins } from '../../models/index.js'
import { type BatchShape, backboneBatch, IGNORED, type TokenRow } from '../../train/backbone/batch.js'
import { backboneProgram, type LoraPlace, loraName, type Trained, trainedShapes } from '../../train/backbone/program.js'
import { joinedParameters, trainable } from '../../train/full.js'
import { scalarsAt } from '../../train/schedule.js'
import { StepSession, TrainingState } from '../../train/state.js'
import { stepGraph } from '../../train/step-graph.js'
import type { ParityCase } from '../case.js'
import { openGraph } from '../graphs.js'
import { readLlama } from '../llama-model.js'
import type { CaseRun, Produced, Runner } from '../types.js'
import { runOnce } from './gradients.js'

/** What a case trains, with its initial values. */
interface Subject {
  readonly trained: Trained
  readonly initial: ReadonlyMap<string, Float32Array>
}

/** Loss and gradients. */
export const runLlamaGradients: Runner = async ({ parityCase, engine, signal }) => {
  using model = readLlama(parityCase)
  const { abi } = model
  const subject = subjectOf(parityCase, abi)
  const shapes = trainedShapes(abi, subject.trained)
  const graph = stepGraph('train', shapes, program(model, subject.trained), 'gradients')
  const feeds = new Map(Object.entries(batchOf(parityCase, subject.trained, abi)))
  for (const { name, dims } of shapes)
    feeds.set(`p/${name}`, hostTensor('float32', dims, copy(subject.initial.get(name)!)))
  const results = await runOnce(engine, graph, feeds, signal)
  const gradients = new Map(shapes.map(({ name }) => [name, results.get(`gradient/${name}`)!.data as Float32Array]))
  return { tensors: new Map([['loss', results.get('loss')!], ...named(abi, subject.trained, gradients, 'grad.')]) }
}

/** Loss and gradients of the whole model, by the names of its checkpoint. */
export const runLlamaFull: Runner = async ({ parityCase, engine, signal }) => {
  using model = readLlama(parityCase)
  const { abi, config, options } = model
  const weights = withOrigins(model.weights)
  const graphs = ARCHITECTURES.llama.graphs(config, weights, options) as Record<string, () => Graph>
  const [embed, decode] = [graphs.embed!(), graphs.decode!()]
  const full = { embed: trainable(embed, weights), decode: trainable(decode, weights, { wanted: ['logits'] }) }
  const trained: Trained = { kind: 'full' }
  const parameters = joinedParameters([full.embed, full.decode])
  const graph = stepGraph('train', parameters, backboneProgram({ embed, decode }, abi, trained, { full }), 'gradients')
  const feeds = new Map(Object.entries(batchOf(parityCase, trained, abi)))
  for (const { name, dims, initial } of parameters)
    feeds.set(`p/${name}`, hostTensor('float32', dims, initial() as never))
  const results = await runOnce(engine, graph, feeds, signal)
  const tensors = new Map([['loss', results.get('loss')!]])
  for (const { name } of parameters) {
    const theirs = hfName(name)
    const gradient = results.get(`gradient/${name}`)!
    tensors.set(`grad.${theirs}`, unpadded(abi, name, gradient))
  }
  return { tensors }
}

/** `layers.0/attn/q` → `model.layers.0.self_attn.q_proj.weight`. */
function hfName(ours: string): string {
  const names: Readonly<Record<string, unknown>> = LLAMA_LAYOUTS.hf.names
  const layer = /layers\.(\d+)\//.exec(ours)?.[1]
  const pattern = layer === undefined ? ours : ours.replace(`layers.${layer}/`, 'layers.{}/')
  return String(names[pattern]).replace('{}', layer ?? '')
}

/** Rows and columns of the checkpoint, without the padding of heads. */
function unpadded(abi: Abi, name: string, { dims, data }: HostTensor): HostTensor {
  const part = /attn\/([qkvo])$/.exec(name)?.[1]
  if (part === undefined || abi.headWidth === abi.sourceHeadWidth)
    return hostTensor('float32', dims, copy(data as Float32Array))
  const [rows, columns] = dims as [number, number]
  const sourceOf = (i: number, rotary: boolean) =>
    sourceHeadRow(i, { from: abi.sourceHeadWidth, to: abi.headWidth, rotary })
  const narrow = (size: number) => (size / abi.headWidth) * abi.sourceHeadWidth
  const [outRows, outColumns] = part === 'o' ? [rows, narrow(columns)] : [narrow(rows), columns]
  const out = new Float32Array(outRows * outColumns)
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) {
      const row = part === 'o' ? r : sourceOf(r, part !== 'v')
      const column = part === 'o' ? sourceOf(c, false) : c
      if (row >= 0 && column >= 0) out[row * outColumns + column] = (data as Float32Array)[r * columns + c]!
    }
  return hostTensor('float32', [outRows, outColumns], out as never)
}

type Model = ReturnType<typeof readLlama>

function program({ config, weights, options, abi }: Model, trained: Trained) {
  const graphs = ARCHITECTURES.llama.graphs(config, weights, options) as Record<string, () => Graph>
  return backboneProgram({ embed: graphs.embed!(), decode: graphs.decode!() }, abi, trained)
}

function subjectOf(parityCase: ParityCase, abi: Abi): Subject {
  const adapter = usableOrInitial(parityCase, abi)
  if (adapter.softPrompt) {
    const { tokens, embeddings } = adapter.softPrompt
    return { trained: { kind: 'prompt', tokens }, initial: new Map([['prompt', embeddings]]) }
  }
  if (adapter.prefix) {
    const { tokens, layers } = adapter.prefix
    const initial = layers.flatMap(({ key, value }, l): [string, Float32Array][] => [
      [`prefix/layers.${l}/key`, key],
      [`prefix/layers.${l}/value`, value],
    ])
    return { trained: { kind: 'prefix', tokens }, initial: new Map(initial) }
  }
  return loraSubject(parityCase, abi, adapter)
}

/** An adapter that begins with B = 0 has no effect yet, and is to be trained all the same. */
function usableOrInitial({ folder }: ParityCase, abi: Abi): AdapterTensors {
  const report = readPeftAdapter(folder, abi)
  return usableAdapter({ ...report, findings: report.findings.filter(({ code }) => code !== 'no-effect') })
}

/** The parts of each packed site, their scale taken out of B again. */
function loraSubject({ config }: ParityCase, abi: Abi, adapter: AdapterTensors): Subject {
  const [rank, alpha] = [Number(config.r), Number(config.lora_alpha)]
  const scale = alpha / rank
  const targets = (config.target_modules as string[]).map((name) => name.replace('_proj', ''))
  const places: LoraPlace[] = []
  const initial = new Map<string, Float32Array>()
  for (let layer = 0; layer < abi.layers; layer++)
    for (const [site, { path, parts, in: inner }] of Object.entries(abi.sites)) {
      const packed = adapter.lora.get(`layers.${layer}/${path}`)
      if (!packed) continue
      const width = parts.reduce((sum, { out }) => sum + out, 0)
      let [firstRank, firstColumn] = [0, 0]
      for (const { name, out } of parts) {
        if (targets.includes(name)) {
          const place = { layer, site, part: name, rank, alpha }
          places.push(place)
          const [rows, columns] = [firstRank, firstColumn]
          const a = Float32Array.from(
            { length: inner * rank },
            (_, i) => packed.a[Math.floor(i / rank) * packed.rank + rows + (i % rank)]!,
          )
          const b = Float32Array.from(
            { length: rank * out },
            (_, i) => packed.b[(rows + Math.floor(i / out)) * width + columns + (i % out)]! / scale,
          )
          initial.set(loraName(abi, place, 'A'), a)
          initial.set(loraName(abi, place, 'B'), b)
          firstRank += rank
        }
        firstColumn += out
      }
    }
  return { trained: { kind: 'lora', rsLora: false, places }, initial }
}

const batchShape = (trained: Trained, { kvHeads, headWidth }: Abi): BatchShape => ({
  promptTokens: trained.kind === 'prompt' ? trained.tokens : 0,
  prefixTokens: trained.kind === 'prefix' ? trained.tokens : 0,
  kvHeads,
  headWidth,
})

function batchOf(parityCase: ParityCase, trained: Trained, abi: Abi, step = 0): Record<string, HostTensor> {
  const [ids, labels] = [parityCase.input('ids'), parityCase.input('labels')]
  const [batch, length] = ids.dims.slice(-2) as [number, number]
  const row = ({ data }: HostTensor, b: number) => {
    const start = (step * batch + b) * length
    return Array.from((data as BigInt64Array).subarray(start, start + length), Number)
  }
  const rows = Array.from({ length: batch }, (_, b): TokenRow => ({ ids: row(ids, b), labels: row(labels, b) }))
  if (rows.some((each) => each.labels.every((label) => label === IGNORED)))
    throw new M4Error('FORMAT_INVALID', `${parityCase.name}: a row has no label.`)
  return backboneBatch(rows, batchShape(trained, abi))
}

/** Trained tensors, or their gradients, by the names of the reference. */
function named(
  abi: Abi,
  trained: Trained,
  tensors: ReadonlyMap<string, Float32Array>,
  prefix: string,
): Map<string, HostTensor> {
  const out = new Map<string, HostTensor>()
  const put = (name: string, dims: readonly number[], data: Float32Array) =>
    out.set(`${prefix}${name}`, hostTensor('float32', dims, copy(data)))
  if (trained.kind === 'prompt') put('prompt_embeddings', [trained.tokens, abi.width], tensors.get('prompt')!)
  if (trained.kind === 'prefix') {
    const { tokens } = trained
    const width = abi.kvHeads * abi.sourceHeadWidth
    const data = new Float32Array(tokens * 2 * abi.layers * width)
    for (let l = 0; l < abi.layers; l++)
      for (const [i, kind] of (['key', 'value'] as const).entries()) {
        const flat = unpackHeads(abi, tokens, kind, tensors.get(`prefix/layers.${l}/${kind}`)!) // [n, K·D]
        for (let t = 0; t < tokens; t++)
          data.set(flat.subarray(t * width, (t + 1) * width), (t * 2 * abi.layers + 2 * l + i) * width)
      }
    put('prompt_embeddings', [tokens, 2 * abi.layers * width], data)
  }
  if (trained.kind === 'lora')
    for (const place of trained.places) {
      const { layer, site, part, rank } = place
      const [a, b] = (['A', 'B'] as const).map((matrix) => tensors.get(loraName(abi, place, matrix))!)
      const own = unpackPart(abi, { site, part }, { rank, a: a!, b: b! }, 'half')
      const base = `base_model.model.model.layers.${layer}.self_attn.${part}_proj`
      put(`${base}.lora_A.weight`, [rank, own.a.length / rank], own.a)
      put(`${base}.lora_B.weight`, [own.b.length / rank, rank], own.b)
    }
  return out
}

interface OptimiserConfig {
  readonly betas: readonly [number, number]
  readonly eps: number
  readonly weight_decay: number
  readonly clip: number
  readonly steps: number
}

/** Curves of loss and gradient norm, and what was learned. */
export const runLlamaAdamW: Runner = async ({ parityCase, engine, signal }: CaseRun): Promise<Produced> => {
  using model = readLlama(parityCase)
  const { abi } = model
  const { trained, initial } = subjectOf(parityCase, abi)
  const shapes = trainedShapes(abi, trained)
  const graph = stepGraph('train', shapes, program(model, trained), 'adamw')
  using state = new TrainingState(engine, shapes, initial)
  using session = new StepSession(engine, await openGraph(engine, graph, signal), state)
  const { betas, eps, weight_decay: decay, clip, steps } = parityCase.config.optimizer as OptimiserConfig
  const rates = parityCase.input('lr').data as Float64Array
  const losses = new Float32Array(steps)
  const norms = new Float32Array(steps)
  for (let step = 0; step < losses.length; step++) {
    const [beta1, beta2] = betas
    const options = {
      lr: rates[step]!,
      beta1,
      beta2,
      epsilon: eps,
      decay,
      clip,
      schedule: 'constant',
      warmupSteps: 0,
      floor: 0,
    } as const
    const result = await session.run(
      batchOf(parityCase, trained, abi, step),
      scalarsAt(options, step, losses.length),
      signal,
    )
    losses[step] = result.loss
    norms[step] = result.gradientNorm!
  }
  const final = new Map(shapes.map(({ name }) => [name, state.parameter(name)]))
  return {
    tensors: new Map([
      ['loss_per_step', hostTensor('float32', [losses.length], losses)],
      ['grad_norm_per_step', hostTensor('float32', [norms.length], norms)],
      ...named(abi, trained, final, 'final.'),
    ]),
  }
}

const copy = (data: Float32Array) => data.slice() as never
