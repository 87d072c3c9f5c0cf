/** A case's LLaMA checkpoint — any layout — as a context of the runtime, built as a firmware build does it. */

import { join } from 'node:path'
import { openCheckpoint } from '../checkpoint/index.js'
import type { Engine, Session } from '../engine/types.js'
import { weightsOf } from '../firmware/build.js'
import { abiOf } from '../firmware/describe.js'
import type { Abi } from '../firmware/manifest.js'
import {
  ARCHITECTURES,
  type LlamaConfig,
  type ModuleOptions,
  type Weights,
  type WeightTensor,
  withGptq,
} from '../models/index.js'
import { loraPlaces } from '../runtime/adapter-binding.js'
import { Context } from '../runtime/context.js'
import { type GatedPromptPlace, gatedPromptPlaces } from '../runtime/gated-prompt.js'
import { cacheShape } from '../runtime/kv-cache.js'
import { isFile, type ParityCase, readJsonFile } from './case.js'
import { EXACT, openGraph } from './graphs.js'
import type { CaseRun } from './types.js'

/** What a case wants besides the decoder of its checkpoint. */
export interface LlamaWishes {
  /** Where the case's checkpoint is another model's. */
  readonly checkpoint?: string
  /** With inputs for LLaMA-Adapter. */
  readonly gatedPrompt?: boolean
}

export interface LlamaModel extends Disposable {
  readonly engine: Engine
  readonly context: Context
  /** Rows of LLaMA-Adapter → keys and values, where the case wanted it. */
  readonly prompt: Session | undefined
  readonly prompts: readonly GatedPromptPlace[]
  readonly abi: Abi
  readonly vocabulary: number
}

/** The model of a case before it is opened. */
export interface LlamaParts extends Disposable {
  readonly config: LlamaConfig
  /** Under our names. */
  readonly weights: Map<string, WeightTensor>
  readonly options: ModuleOptions
  readonly abi: Abi
}

/** The case's checkpoint under our names. @throws M4Error as `openLlama`, without `ENGINE` */
export function readLlama(parityCase: ParityCase, wishes: LlamaWishes = {}): LlamaParts {
  const checkpoint = openCheckpoint(
    wishes.checkpoint === undefined ? checkpointPath(parityCase) : parityCase.path(wishes.checkpoint),
  )
  const tensors = withGptq(weightsOf(checkpoint))
  const metadata = { ...checkpoint.metadata, config: caseConfig(parityCase) }
  const { llama } = ARCHITECTURES
  const config = llama.configure({ format: checkpoint.format, metadata, weights: tensors })
  const weights = llama.weights(config, tensors as Weights)
  const options = { ...EXACT, gatedPrompt: wishes.gatedPrompt ?? false }
  const abi = abiOf(llama.adapters!(config, EXACT))
  return { config, weights, options, abi, [Symbol.dispose]: () => checkpoint.dispose() }
}

/**
 * @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID`, `FORMAT_UNSUPPORTED`, `TENSOR_MISSING`, `TENSOR_UNUSED`, `SHAPE_MISMATCH`,
 * `ENGINE`, `ABORTED`
 */
export async function openLlama(
  { parityCase, engine, signal }: CaseRun,
  wishes: LlamaWishes = {},
): Promise<LlamaModel> {
  using parts = readLlama(parityCase, wishes)
  const { config, weights, options, abi } = parts
  const graphs = ARCHITECTURES.llama.graphs(config, weights, options)
  const sessions: Session[] = []
  const open = async (purpose: 'embed' | 'decode' | 'prompt') => {
    const session = await openGraph(engine, graphs[purpose]!(), signal)
    sessions.push(session)
    return session
  }
  const dispose = () => {
    for (const session of sessions) session.dispose()
  }
  try {
    const opened = { embed: await open('embed'), decode: await open('decode') }
    const prompt = graphs.prompt ? await open('prompt') : undefined
    const context = openContext(engine, opened, config)
    const disposeAll = () => {
      context.dispose()
      dispose()
    }
    return {
      engine,
      context,
      prompt,
      prompts: gatedPromptPlaces(opened.decode.inputs),
      abi,
      vocabulary: config.vocabulary,
      [Symbol.dispose]: disposeAll,
    }
  } catch (error) {
    dispose()
    throw error
  }
}

function openContext(
  engine: Engine,
  { embed, decode }: { embed: Session; decode: Session },
  { width, vocabulary, contextLength }: { width: number; vocabulary: number; contextLength: number },
): Context {
  const [cache, places] = [cacheShape(decode.inputs), loraPlaces(decode.inputs)]
  const prompts = gatedPromptPlaces(decode.inputs)
  return new Context({ engine, embed, decode, width, vocabulary, contextLength, cache, places, prompts })
}

/** Meta's files are one folder: the ranks, and params.json beside them. */
function checkpointPath(parityCase: ParityCase): string {
  const path = parityCase.checkpointPath()
  const isMeta = /^consolidated\.\d\d\.pth$/.test(String(parityCase.json.checkpoint))
  return isMeta && isFile(join(parityCase.folder, 'params.json')) ? parityCase.folder : path
}

/** `config.json` as a user has it beside the weights; else what the case says (`base` under an adapter's configuration). */
function caseConfig({ folder, config }: ParityCase): unknown {
  const path = join(folder, 'config.json')
  return isFile(path) ? readJsonFile(path) : (config.base ?? config)
}
