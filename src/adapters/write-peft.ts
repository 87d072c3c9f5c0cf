/**
 * Trained tensors → a PEFT folder that Hugging Face PEFT loads with `PeftModel.from_pretrained`.
 *
 * @reference huggingface/peft: config.py of the tuners, get_peft_model_state_dict in utils/save_and_load.py
 */

import { writeSafetensors } from '../checkpoint/index.js'
import { floatToHalf, halfToFloat, toHalf } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'
import { type HostTensor, hostTensor } from '../core/tensor.js'
import type { Abi } from '../firmware/manifest.js'
import { PEFT_CONFIG_FILE, PEFT_PLACES, PEFT_WEIGHT_FILE, peftModule } from './peft-names.js'
import { unpackHeads, unpackPart } from './places.js'
import { checkTrained, type TrainedAdapter, type TrainedLora, type TrainedPart, type TrainedPrefix } from './trained.js'
import { type DiskWrite, writeFolder } from './write-folder.js'

export type StorageDType = 'float32' | 'float16'

export interface PeftOptions {
  /** `base_model_name_or_path`, e.g. a name on the Hugging Face hub. Default: not said. */
  readonly base?: string
  /** How tensors are stored; float16 halves the file. Default float32. */
  readonly dtype?: StorageDType
}

/** One pair in the checkpoint's layout, as a PEFT file has it. */
export interface PeftPair {
  readonly layer: number
  /** `self_attn.q_proj` */
  readonly module: string
  readonly rank: number
  readonly alpha: number
  readonly a: Float32Array // [r, in]
  readonly b: Float32Array // [out, r]
}

/**
 * The two files of a PEFT folder by name. The same adapter always gives the same bytes.
 * @throws M4Error `SHAPE_MISMATCH` when it does not fit the base, `INVALID_REQUEST` when a value is not finite, was learned in
 *   the padding of heads, or does not survive float16
 */
export function peftFiles(abi: Abi, trained: TrainedAdapter, options: PeftOptions = {}): Map<string, Uint8Array> {
  checkTrained(abi, trained)
  if (trained.kind === 'lora') {
    const pairs = trained.parts.map((part) => peftPair(abi, part))
    return loraFiles(pairs, { ...options, rsLora: trained.rsLora, layers: abi.layers })
  }
  const { tokens } = trained
  const prefixWidth = abi.kvHeads * abi.sourceHeadWidth
  const [width, rows] =
    trained.kind === 'prompt'
      ? [abi.width, trained.embeddings]
      : [2 * abi.layers * prefixWidth, prefixRows(abi, trained)]
  const config = {
    ...common(trained.kind === 'prompt' ? 'PROMPT_TUNING' : 'PREFIX_TUNING', options),
    num_virtual_tokens: tokens,
    num_transformer_submodules: 1,
    num_layers: abi.layers,
    ...(trained.kind === 'prompt'
      ? { token_dim: abi.width, num_attention_heads: null, prompt_tuning_init: 'RANDOM', prompt_tuning_init_text: null }
      : // PEFT reshapes rows to [2·layers, num_attention_heads, token_dim / num_attention_heads]: its way of grouped queries.
        {
          token_dim: prefixWidth,
          num_attention_heads: abi.kvHeads,
          encoder_hidden_size: prefixWidth,
          prefix_projection: false,
        }),
  }
  return assemble(config, { prompt_embeddings: stored('prompt_embeddings', [tokens, width], rows, options) })
}

/**
 * Writes a PEFT folder, whole or not at all. A PEFT folder that is there is replaced, nothing else is.
 * @throws M4Error as `peftFiles`, and `INVALID_REQUEST` when another folder is in the way, `DISK_FULL`, `IO`
 */
export async function writePeftFolder(
  folder: string,
  abi: Abi,
  trained: TrainedAdapter,
  options: PeftOptions & { readonly write?: DiskWrite } = {},
): Promise<void> {
  await writeFolder(folder, peftFiles(abi, trained, options), {
    replaces: { mark: PEFT_CONFIG_FILE, names: [PEFT_CONFIG_FILE, PEFT_WEIGHT_FILE, 'README.md'], what: 'PEFT folder' },
    ...(options.write ? { write: options.write } : {}),
  })
}

function peftPair(abi: Abi, part: TrainedPart): PeftPair {
  const { layer, rank, alpha } = part
  return { layer, module: peftModule(part), rank, alpha, ...unpackPart(abi, part, part, 'half') }
}

/**
 * A LoRA folder from pairs in the checkpoint's layout, in any order.
 * @param unsorted with modules of `PEFT_PLACES`
 * @param options.layers of the base: where a module is adapted in fewer, `target_modules` names each
 */
export function loraFiles(
  unsorted: readonly PeftPair[],
  options: PeftOptions & Pick<TrainedLora, 'rsLora'> & { readonly layers: number },
): Map<string, Uint8Array> {
  const order = Object.keys(PEFT_PLACES)
  const pairs = [...unsorted].sort((a, b) => a.layer - b.layer || order.indexOf(a.module) - order.indexOf(b.module))
  const rank = mostCommon(pairs.map((pair) => pair.rank))
  const alpha = mostCommon(pairs.map((pair) => pair.alpha))
  const odd = patterns(pairs, ({ rank: r, alpha: a }) => r !== rank || a !== alpha)
  const config = {
    ...common('LORA', options),
    r: rank,
    lora_alpha: alpha,
    lora_dropout: 0,
    bias: 'none',
    fan_in_fan_out: false,
    init_lora_weights: true,
    modules_to_save: null,
    layers_to_transform: null,
    layers_pattern: null,
    target_modules: targets(pairs, options.layers),
    // PEFT before 0.14 looks one name up in both tables together, so both have the same names.
    rank_pattern: Object.fromEntries(odd.map(([name, pair]) => [name, pair.rank])),
    alpha_pattern: Object.fromEntries(odd.map(([name, pair]) => [name, pair.alpha])),
    use_rslora: options.rsLora,
    use_dora: false,
  }
  const tensors: Record<string, HostTensor> = {}
  for (const { layer, module, rank: r, a, b } of pairs)
    for (const [half, data, dims] of [
      ['A', a, [r, a.length / r]],
      ['B', b, [b.length / r, r]],
    ] as const) {
      const name = `base_model.model.model.layers.${layer}.${module}.lora_${half}.weight`
      tensors[name] = stored(name, dims, data, options)
    }
  return assemble(config, tensors)
}

const common = (type: string, { base }: PeftOptions) => ({
  peft_type: type,
  auto_mapping: null,
  base_model_name_or_path: base ?? null,
  revision: null,
  task_type: 'CAUSAL_LM',
  inference_mode: true,
})

function assemble(config: object, tensors: Readonly<Record<string, HostTensor>>): Map<string, Uint8Array> {
  return new Map([
    [PEFT_CONFIG_FILE, new TextEncoder().encode(`${JSON.stringify(config, null, 2)}\n`)],
    [PEFT_WEIGHT_FILE, writeSafetensors(tensors, { format: 'pt' })],
  ])
}

/** `q_proj`, or `layers.3.self_attn.q_proj` where not every layer has it: otherwise PEFT would make untrained ones. */
function targets(pairs: readonly PeftPair[], layers: number): string[] {
  return [...byModule(pairs)].flatMap(([module, same]) =>
    same.length === layers ? [shortName(module)] : same.map(({ layer }) => `layers.${layer}.${module}`),
  )
}

/** Ends of module paths that stand for the pairs that differ, each with one of them; a module alike in all layers once. */
function patterns(pairs: readonly PeftPair[], differs: (pair: PeftPair) => boolean): [string, PeftPair][] {
  return [...byModule(pairs)].flatMap(([module, same]): [string, PeftPair][] => {
    const alike = same.every(({ rank, alpha }) => rank === same[0]!.rank && alpha === same[0]!.alpha)
    if (alike) return differs(same[0]!) ? [[shortName(module), same[0]!]] : []
    return same.filter(differs).map((pair) => [`layers.${pair.layer}.${module}`, pair])
  })
}

function byModule(pairs: readonly PeftPair[]): Map<string, PeftPair[]> {
  const modules = new Map<string, PeftPair[]>()
  for (const pair of pairs) modules.set(pair.module, [...(modules.get(pair.module) ?? []), pair])
  return modules
}

const shortName = (module: string) => module.slice(module.lastIndexOf('.') + 1)

/** The first of the most frequent values. */
function mostCommon(values: readonly number[]): number {
  const counts = new Map<number, number>()
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1)
  return [...counts].reduce((best, entry) => (entry[1] > best[1] ? entry : best))[0]
}

/** [n, 2·L·K·D]: of each token the key and value of layer 0, then of layer 1, … */
function prefixRows(abi: Abi, { tokens, layers }: TrainedPrefix): Float32Array {
  const row = abi.kvHeads * abi.sourceHeadWidth
  const out = new Float32Array(tokens * 2 * abi.layers * row)
  for (const [l, layer] of layers.entries())
    for (const [second, kind] of (['key', 'value'] as const).entries()) {
      const rows = unpackHeads(abi, tokens, kind, layer[kind])
      for (let token = 0; token < tokens; token++)
        out.set(rows.subarray(token * row, (token + 1) * row), (token * 2 * abi.layers + 2 * l + second) * row)
    }
  return out
}

const HALF_MAX = 65504

/**
 * A tensor in the dtype that it is stored in.
 * @throws M4Error `INVALID_REQUEST` when a value is beyond float16, or all of a tensor that is not zero would become zero
 */
export function stored(
  name: string,
  dims: readonly number[],
  data: Float32Array,
  { dtype = 'float32' }: Pick<PeftOptions, 'dtype'>,
): HostTensor {
  if (dtype === 'float32') return hostTensor('float32', dims, data as HostTensor<'float32'>['data'])
  let largest = 0
  for (const value of data) largest = Math.max(largest, Math.abs(value))
  const kept = halfToFloat(floatToHalf(largest))
  if (kept > HALF_MAX || (largest > 0 && kept === 0))
    throw new M4Error('INVALID_REQUEST', `${name}: the largest value, ${largest}, does not survive float16.`, {
      hint: 'Store it as float32.',
      details: { tensor: name, largest },
    })
  return hostTensor('float16', dims, toHalf(data) as HostTensor<'float16'>['data'])
}
