/** A case's Whisper checkpoint as sessions, and its decoder with a KV cache, built as a firmware build does it. */

import { join } from 'node:path'
import { openCheckpoint } from '../checkpoint/index.js'
import type { DataOf } from '../core/dtypes.js'
import { int64Tensor } from '../core/tensor.js'
import type { Engine, Session, Tensor } from '../engine/types.js'
import { weightsOf } from '../firmware/build.js'
import { ARCHITECTURES, type WhisperConfig } from '../models/index.js'
import { cacheShape, createKvCache } from '../runtime/kv-cache.js'
import { isFile, readJsonFile } from './case.js'
import { EXACT, openGraph } from './graphs.js'
import type { CaseRun } from './types.js'

export interface WhisperModel extends Disposable {
  readonly config: WhisperConfig
  /** [1, N] → [1, M, N / hop] */
  logMel(samples: DataOf<'float32'>): Promise<Tensor>
  /** [B, M, 2P] → features [B, P, C] */
  encode(mel: Tensor): Promise<Tensor>
  /** A decoder that hears one row of features [1, P, C]. Dispose it before the model. */
  decoder(features: Tensor): Promise<WhisperDecoder>
}

export interface WhisperDecoder extends Disposable {
  /** Forgets all tokens. */
  reset(): void
  /** Logits [T, V] of these tokens, behind those before. */
  run(ids: readonly number[]): Promise<Float32Array>
}

/** @throws M4Error as the reader, the models and the engine do */
export async function openWhisper({ parityCase, engine, signal }: CaseRun): Promise<WhisperModel> {
  using checkpoint = openCheckpoint(parityCase.checkpointPath())
  const configPath = join(parityCase.folder, 'config.json')
  const caseConfig = isFile(configPath) ? readJsonFile(configPath) : parityCase.config
  const tensors = weightsOf(checkpoint)
  const { whisper } = ARCHITECTURES
  const metadata = { ...checkpoint.metadata, config: caseConfig }
  const config = whisper.configure({ format: checkpoint.format, metadata, weights: tensors })
  const graphs = whisper.graphs(config, whisper.weights(config, tensors), EXACT)
  const sessions: Record<string, Session> = {}
  const dispose = () => {
    for (const session of Object.values(sessions)) session.dispose()
  }
  try {
    for (const [purpose, graph] of Object.entries(graphs)) sessions[purpose] = await openGraph(engine, graph(), signal)
  } catch (error) {
    dispose()
    throw error
  }
  const { logMel, encode, cross, decode } = sessions as Record<'logMel' | 'encode' | 'cross' | 'decode', Session>
  return {
    config,
    logMel: async (samples) => {
      using input = engine.tensor('float32', [1, samples.length], samples)
      return (await logMel.run({ samples: input }, undefined, { signal })).mel!
    },
    encode: async (mel) => (await encode.run({ mel }, undefined, { signal })).features!,
    decoder: async (features) => {
      const heard = await cross.run({ features }, undefined, { signal })
      return openDecoder(engine, decode, config, heard, signal)
    },
    [Symbol.dispose]: dispose,
  }
}

function openDecoder(
  engine: Engine,
  decode: Session,
  config: WhisperConfig,
  heard: Readonly<Record<string, Tensor>>,
  signal: AbortSignal | undefined,
): WhisperDecoder {
  const owned: Tensor[] = Object.values(heard)
  const keep = (tensor: Tensor) => {
    owned.push(tensor)
    return tensor
  }
  const binding = decode.bind()
  for (const [name, tensor] of Object.entries(heard)) binding.bindInput(name, tensor)
  const cache = createKvCache(engine, binding, cacheShape(decode.inputs), config.textContext)
  cache.reserve(config.textContext, 0)
  const last = keep(engine.tensor('int32', [1]))
  const total = keep(engine.tensor('int32', []))
  binding.bindInput('seqlens_k', last)
  binding.bindInput('total_sequence_length', total)
  binding.bindOutput('logits')
  let length = 0
  const dispose = () => {
    binding.dispose()
    cache.dispose()
    for (const tensor of owned) tensor.dispose()
  }
  return {
    reset: () => {
      length = 0
    },
    run: async (ids) => {
      const rows = Array.from(ids, (_, i) => i)
      const integers = (values: readonly number[], dims: readonly number[]) =>
        engine.tensor('int64', dims, int64Tensor(dims, values).data)
      using tokens = integers(ids, [1, ids.length])
      using positions = integers(
        rows.map((i) => length + i),
        [ids.length],
      )
      using wanted = integers(rows, [ids.length])
      binding.bindInput('ids', tokens)
      binding.bindInput('positions', positions)
      binding.bindInput('logit_idx', wanted)
      length += ids.length
      ;(last.data as Int32Array)[0] = length - 1
      ;(total.data as Int32Array)[0] = length
      await binding.run({ signal })
      using logits = binding.output('logits')
      return (logits.data as Float32Array).slice()
    },
    [Symbol.dispose]: dispose,
  }
}
