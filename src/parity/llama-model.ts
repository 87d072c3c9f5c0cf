/** A case's LLaMA checkpoint — any layout — as a context of the runtime, built as a firmware build does it. */

import { join } from 'node:path'
import { openCheckpoint } from '../checkpoint/index.js'
import type { Engine, Session } from '../engine/types.js'
import { weightsOf } from '../firmware/build.js'
import { abiOf } from '../firmware/describe.js'
import type { Abi } from '../firmware/manifest.js'
import { ARCHITECTURES, type Weights } from '../models/index.js'
import { loraPlaces } from '../runtime/adapter-binding.js'
import { Context } from '../runtime/context.js'
import { cacheShape } from '../runtime/kv-cache.js'
import { isFile, type ParityCase, readJsonFile } from './case.js'
import { withGptq } from './gptq.js'
import { EXACT, openGraph } from './graphs.js'
import type { CaseRun } from './types.js'

export interface LlamaModel extends Disposable {
  readonly context: Context
  readonly abi: Abi
  readonly vocabulary: number
}

/**
 * @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID`, `FORMAT_UNSUPPORTED`, `TENSOR_MISSING`, `TENSOR_UNUSED`, `SHAPE_MISMATCH`,
 * `ENGINE`, `ABORTED`
 */
export async function openLlama({ parityCase, engine, signal }: CaseRun): Promise<LlamaModel> {
  using checkpoint = openCheckpoint(checkpointPath(parityCase))
  const tensors = withGptq(weightsOf(checkpoint))
  const metadata = { ...checkpoint.metadata, config: caseConfig(parityCase) }
  const { llama } = ARCHITECTURES
  const config = llama.configure({ format: checkpoint.format, metadata, weights: tensors })
  const weights = llama.weights(config, tensors as Weights)
  const graphs = llama.graphs(config, weights, EXACT)
  const sessions: Session[] = []
  const open = async (purpose: 'embed' | 'decode') => {
    const session = await openGraph(engine, graphs[purpose]!(), signal)
    sessions.push(session)
    return session
  }
  const dispose = () => {
    for (const session of sessions) session.dispose()
  }
  try {
    const parts = { embed: await open('embed'), decode: await open('decode') }
    const context = openContext(engine, parts, config)
    const disposeAll = () => {
      context.dispose()
      dispose()
    }
    const abi = abiOf(llama.adapters!(config, EXACT))
    return { context, abi, vocabulary: config.vocabulary, [Symbol.dispose]: disposeAll }
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
  return new Context({ engine, embed, decode, width, vocabulary, contextLength, cache, places })
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
