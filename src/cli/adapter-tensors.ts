/** What the files of an adapter hold, without a base to hold them against. */

import { join } from 'node:path'
import type { PackageKind } from '../adapters/index.js'
import type { CheckpointTensor } from '../checkpoint/index.js'
import { elementCount } from '../core/dims.js'

export interface TensorFacts {
  readonly kind: PackageKind
  /** LoRA by module, as PEFT names it, over all layers. */
  readonly places: readonly PlaceFacts[]
  /** Of prompt and prefix tuning. */
  readonly tokens?: number
  readonly tensors: number
  readonly parameters: number
  /** As they are stored, e.g. `F32`. */
  readonly types: readonly string[]
}

export interface PlaceFacts {
  /** `self_attn.q_proj` */
  readonly module: string
  readonly layers: number
  /** All that occur, rising. */
  readonly ranks: readonly number[]
  readonly alphas: readonly number[]
  readonly scales: readonly number[]
}

const KINDS = { LORA: 'lora', PROMPT_TUNING: 'prompt', PREFIX_TUNING: 'prefix' } as const

/** A PEFT folder. @throws M4Error as `openPeft` */
export async function peftFacts(folder: string): Promise<TensorFacts> {
  const { loraCandidates, openPeft } = await import('../adapters/peft.js')
  const { config, checkpoint } = openPeft(folder)
  using owned = checkpoint
  const counted = countTensors(owned.tensors.values())
  if (config.type !== 'LORA') return { kind: KINDS[config.type], places: [], tokens: config.virtualTokens!, ...counted }
  const modules = new Map<string, { ranks: Set<number>; alphas: Set<number>; scales: Set<number>; layers: number }>()
  for (const { label, rank, scale, a } of loraCandidates(owned.tensors.values(), config.lora).candidates.values()) {
    const module = label.replace(/^.*layers\.\d+\./, '')
    const found = modules.get(module) ?? { ranks: new Set(), alphas: new Set(), scales: new Set(), layers: 0 }
    modules.set(module, found)
    found.ranks.add(rank ?? a?.dims[0] ?? 0)
    found.alphas.add(config.lora(label).alpha)
    found.scales.add(scale)
    found.layers++
  }
  const rising = (values: Set<number>) => [...values].sort((x, y) => x - y)
  const places = [...modules].map(([module, { ranks, alphas, scales, layers }]) => ({
    module,
    layers,
    ranks: rising(ranks),
    alphas: rising(alphas),
    scales: rising(scales),
  }))
  return { kind: 'lora', places, ...counted }
}

/** A package of kind `head`. @throws M4Error as `openCheckpoint` */
export async function headFacts(folder: string): Promise<TensorFacts> {
  const [{ HEAD_FILE }, { openCheckpoint }] = await Promise.all([
    import('../adapters/index.js'),
    import('../checkpoint/index.js'),
  ])
  using checkpoint = openCheckpoint(join(folder, HEAD_FILE))
  return { kind: 'head', places: [], ...countTensors(checkpoint.tensors.values()) }
}

function countTensors(tensors: Iterable<CheckpointTensor>) {
  const all = [...tensors]
  return {
    tensors: all.length,
    parameters: all.reduce((sum, { dims }) => sum + elementCount(dims), 0),
    types: [...new Set(all.map(({ storage }) => storage))].sort(),
  }
}
