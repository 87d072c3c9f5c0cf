/** PandaGPT cases: ImageBind → projection → soft token → LLaMA with the delta's LoRA. */

import { type AdapterTensors, readPandaGpt, usableAdapter } from '../adapters/index.js'
import type { DataOf } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'
import { type HostTensor, hostTensor, int64Tensor } from '../core/tensor.js'
import type { Session } from '../engine/types.js'
import { type ImageBindModality, projectionGraph } from '../models/index.js'
import { argmax } from '../runtime/logits.js'
import { addSoftTokens, keptAnswer, type PandaIds, pandaSegments } from '../runtime/panda-prompt.js'
import type { ParityCase } from './case.js'
import { EXACT, openGraph } from './graphs.js'
import { openImageBind } from './imagebind-model.js'
import { type LlamaModel, openLlama } from './llama-model.js'
import type { CaseRun, Runner } from './types.js'

/** What the outputs call a modality, its input and its tower. */
const SEEN: Readonly<Record<string, { readonly input: string; readonly modality: ImageBindModality }>> = Object.freeze({
  image: { input: 'image', modality: 'vision' },
  video: { input: 'video', modality: 'vision' },
  audio: { input: 'melspec', modality: 'audio' },
  thermal: { input: 'thermal', modality: 'thermal' },
})

export interface SoftToken {
  readonly embedding: HostTensor // [B, E]
  readonly tokens: readonly Float32Array[] // B of [C]
}

export interface PandaModel extends Disposable {
  readonly llama: LlamaModel
  readonly adapter: AdapterTensors | undefined
  soften(modality: ImageBindModality, input: HostTensor): Promise<SoftToken>
}

/** The three checkpoints of a case's folder. */
export async function openPanda(run: CaseRun): Promise<PandaModel> {
  const { parityCase, engine, signal } = run
  const llama = await openLlama(run, { checkpoint: fileOf(parityCase, /llama/i) })
  const owned: Disposable[] = [llama]
  const keep = <D extends Disposable>(thing: D): D => {
    owned.push(thing)
    return thing
  }
  const dispose = () => {
    for (const thing of owned.reverse()) thing[Symbol.dispose]()
  }
  try {
    const alpha = parityCase.config.lora_alpha
    const delta = readPandaGpt(
      parityCase.path(fileOf(parityCase, /delta/i)),
      llama.abi,
      typeof alpha === 'number' ? { alpha } : {},
    )
    const adapter = delta.adapter.lora.size ? usableAdapter(delta) : undefined
    const { in: joint, out: width, weight, bias } = delta.projection
    const tensor = (name: string, dims: readonly number[], data: Float32Array) =>
      [name, { name, dims, float32: () => data }] as const
    const weights = new Map([tensor('proj', [width, joint], weight), tensor('proj/bias', [width], bias)])
    const graph = projectionGraph({ joint, width, tokens: 1 }, EXACT.quantisation, weights)
    const project = keep(await openGraph(engine, graph, signal))
    // The towers' sizes stand below the case's other settings.
    const { imagebind } = parityCase.config
    const encoders = keep(
      openImageBind({
        ...run,
        parityCase: { ...parityCase, config: (imagebind ?? parityCase.config) as typeof parityCase.config },
      }),
    )
    const soften = async (modality: ImageBindModality, input: HostTensor): Promise<SoftToken> => {
      const { head } = await encoders.encode(modality, input, { adapter: false, heads: false })
      return await projected(run, project, head, input.dims[0]!)
    }
    return { llama, adapter, soften, [Symbol.dispose]: dispose }
  } catch (error) {
    dispose()
    throw error
  }
}

/** head [B·Q, E] → soft tokens of B items */
async function projected(
  { engine, signal }: CaseRun,
  project: Session,
  head: HostTensor,
  items: number,
): Promise<SoftToken> {
  const [rows, joint] = head.dims as [number, number]
  using input = engine.tensor('float32', [items, rows / items, joint], head.data as DataOf<'float32'>)
  const results = await project.run({ head: input }, undefined, { signal })
  using embedding = results.embedding!
  using softToken = results.softToken!
  const [data, width] = [softToken.data as Float32Array, softToken.dims[2]!]
  return {
    embedding: hostTensor('float32', embedding.dims, (embedding.data as DataOf<'float32'>).slice()),
    tokens: Array.from({ length: items }, (_, b) => data.slice(b * width, (b + 1) * width)),
  }
}

const fileOf = ({ files, folder }: ParityCase, role: RegExp): string => {
  const found = files.filter((file) => role.test(file.role) && !/config/i.test(file.role))
  if (found.length === 1) return found[0]!.file
  throw new M4Error('FORMAT_INVALID', `${folder}: expected one file whose role is like ${role}, got ${found.length}.`)
}

export const runPandaGpt: Runner = async (run) => {
  const { parityCase, signal } = run
  using model = await openPanda(run)
  const { context } = model.llama
  context.useAdapter(model.adapter)
  const prompts = promptsOf(parityCase)
  const cache = new Map<string, Promise<SoftToken>>()
  const soften = (name: string): Promise<SoftToken> => {
    const { input, modality } = SEEN[name]!
    if (!cache.has(name)) cache.set(name, model.soften(modality, parityCase.input(input)))
    return cache.get(name)!
  }
  /** One token an item: `image`, `image_plus_audio`, `zero_soft_token`. */
  const tokensOf = async (what: string): Promise<Float32Array[]> => {
    if (what === 'zero_soft_token') return prompts.map(() => new Float32Array(model.llama.abi.width))
    const parts = await Promise.all(what.split('_plus_').map(soften))
    return prompts.map((_, b) => addSoftTokens(parts.map(({ tokens }) => tokens[b]!)))
  }
  const tensors = new Map<string, HostTensor>()
  const greedy = async (what: string, count: number, stop?: number): Promise<number[][]> => {
    const softTokens = await tokensOf(what)
    const rows: number[][] = []
    for (const [b, ids] of prompts.entries())
      rows.push(await answer(model.llama, ids, softTokens[b]!, { count, stop, signal }))
    return rows
  }
  // What the unnamed outputs are about: the modality of the answer that has a name.
  const named = parityCase.outputs.flatMap(({ name }) => /^greedy_tokens_(\w+)$/.exec(name)?.[1] ?? [])[0] ?? 'image'
  for (const { name, shape } of parityCase.outputs) {
    const [, embedded] = /^(\w+)_embedding$/.exec(name) ?? []
    const [, seen] = /^logits_(\w+)$/.exec(name) ?? []
    const [, answered] = /^greedy_tokens_(\w+)$/.exec(name) ?? []
    if (embedded && SEEN[embedded]) tensors.set(name, (await soften(embedded)).embedding)
    else if (seen) tensors.set(name, await logits(model.llama, prompts, await tokensOf(seen), signal))
    else if (answered) {
      const rows = await greedy(answered, shape.at(-1)!)
      tensors.set(name, int64Tensor([rows.length, shape.at(-1)!], rows.flat()))
    } else if (name === 'generated_until_stop' || name === 'kept_tokens') {
      const [ids] = await greedy(named, longestAnswer(parityCase), Number(parityCase.config.stop_token))
      const kept = name === 'kept_tokens' ? keptAnswer(ids!) : ids!
      tensors.set(name, int64Tensor([kept.length], kept))
    }
  }
  return { tensors }
}

/** Where an answer without its end is cut. */
const LONGEST = 64

const longestAnswer = ({ config, outputs }: ParityCase): number =>
  Number(config.maxNewTokens ?? outputs.find(({ name }) => name.startsWith('greedy_tokens_'))?.shape.at(-1) ?? LONGEST)

/** Ids of each item's prompt. */
function promptsOf(parityCase: ParityCase): PandaIds[] {
  const rows = (name: string) => {
    const { dims, data } = parityCase.input(name)
    const width = dims[1]!
    return Array.from({ length: dims[0]! }, (_, b) =>
      Array.from(data.slice(b * width, (b + 1) * width) as ArrayLike<bigint>, Number),
    )
  }
  const [before, after] = [rows('before_ids'), rows('after_ids')]
  const bos = Number(parityCase.config.bos)
  return before.map((ids, b) => ({ bos, before: ids, after: after[b]! }))
}

/** Of every place of the prompt, the soft token's included. [B, 2 + before + after, V] */
async function logits(
  { context, vocabulary }: LlamaModel,
  prompts: readonly PandaIds[],
  softTokens: readonly Float32Array[],
  signal: AbortSignal | undefined,
): Promise<HostTensor> {
  const perRow = prompts[0]!.before.length + prompts[0]!.after.length + 2
  const out = new Float32Array(prompts.length * perRow * vocabulary)
  for (const [b, ids] of prompts.entries()) {
    const [before, soft, after] = pandaSegments(ids, softTokens[b]!)
    const at = (place: number) => (b * perRow + place) * vocabulary
    context.rewind(0)
    await context.evaluateAll(before!.ids!, (part, from) => out.set(part, at(from)), { signal })
    const places = before!.ids!.length
    out.set((await context.prefill([before!, soft!], { signal })).logits, at(places))
    await context.evaluateAll(after!.ids!, (part, from) => out.set(part, at(places + 1 + from)), { signal })
  }
  return hostTensor('float32', [prompts.length, perRow, vocabulary], out)
}

interface AnswerOptions {
  readonly count: number
  /** The answer ends right after this id. */
  readonly stop?: number | undefined
  readonly signal?: AbortSignal | undefined
  /** Called with the logits behind the prompt. */
  readonly onPrompt?: (logits: Float32Array) => void
}

/** Greedy ids behind a prompt. */
export async function answer(
  { context }: LlamaModel,
  ids: PandaIds,
  softToken: Float32Array,
  { count, stop, signal, onPrompt }: AnswerOptions,
): Promise<number[]> {
  context.rewind(0)
  let row = (await context.prefill(pandaSegments(ids, softToken), { signal })).logits
  onPrompt?.(row)
  const tokens: number[] = []
  while (tokens.length < count) {
    const id = argmax(row)
    tokens.push(id)
    if (id === stop || tokens.length === count) break
    row = await context.step(id, { signal })
  }
  return tokens
}
