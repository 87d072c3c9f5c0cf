/**
 * LoRA as llama.cpp takes it: `general.type` adapter, `adapter.type` lora, one `adapter.lora.alpha` for all, and
 * `blk.N.<matrix>.weight.lora_a` [r, in], `.lora_b` [out, r]. Rows of q and k are interleaved pairs, as in its models.
 *
 * @reference ggml-org/llama.cpp convert_lora_to_gguf.py, src/llama-adapter.cpp (scale = alpha / rank; alpha 0 means scale 1)
 */

import { type ByteSource, type Checkpoint, openGguf } from '../checkpoint/index.js'
import { formatDims } from '../core/dims.js'
import { M4Error } from '../core/errors.js'
import { interleavedRow } from '../core/heads.js'
import type { HostTensor } from '../core/tensor.js'
import type { Abi } from '../firmware/manifest.js'
import { type GgufValue, writeGguf } from './gguf-write.js'
import { PEFT_PLACES } from './peft-names.js'
import { readPeftPairs, type ScaledPair } from './peft-pairs.js'
import { partShape } from './places.js'
import { loraFiles, type PeftOptions, type PeftPair, type StorageDType, stored } from './write-peft.js'

/** Their matrix → PEFT's module. */
const MODULES: Readonly<Record<string, string>> = Object.freeze({
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
})
const ROTARY: ReadonlySet<string> = new Set(['attn_q', 'attn_k'])
const TENSOR = /^blk\.(\d+)\.([a-z_]+)\.weight\.lora_([ab])$/

/**
 * A PEFT LoRA folder as a GGUF adapter. Where scales differ (patterns, rsLoRA) the difference goes into B, for the file has
 * one alpha.
 * @throws M4Error as `readPeftPairs`; `SHAPE_MISMATCH` when a pair does not fit the base
 */
export function writeGgufAdapter(
  folder: string,
  abi: Abi,
  options: { readonly name?: string; readonly dtype?: StorageDType } = {},
): Uint8Array {
  const pairs = readPeftPairs(folder)
  for (const pair of pairs) requireFit(abi, pair)
  const alpha = pairs[0]!.scale * pairs[0]!.rank
  const tensors = new Map<string, HostTensor>()
  for (const pair of pairs) {
    const matrix = Object.keys(MODULES).find((name) => MODULES[name] === pair.module)!
    const name = `blk.${pair.layer}.${matrix}.weight`
    const factor = (pair.scale * pair.rank) / alpha
    const scaled = factor === 1 ? pair.b : pair.b.map((value) => value * factor)
    const rows = ROTARY.has(matrix) ? toInterleaved(scaled, pair.rank, abi.sourceHeadWidth) : scaled
    tensors.set(`${name}.lora_a`, stored(`${name}.lora_a`, [pair.rank, pair.in], pair.a, options))
    tensors.set(`${name}.lora_b`, stored(`${name}.lora_b`, [pair.out, pair.rank], rows, options))
  }
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', { type: 'string', value: 'llama' }],
    ['general.type', { type: 'string', value: 'adapter' }],
    ['adapter.type', { type: 'string', value: 'lora' }],
    ...(options.name ? ([['general.name', { type: 'string', value: options.name }]] as const) : []),
    ['general.file_type', { type: 'uint32', value: options.dtype === 'float16' ? 1 : 0 }],
    ['adapter.lora.alpha', { type: 'float32', value: alpha }],
  ])
  return writeGguf(metadata, tensors)
}

/**
 * A GGUF adapter as the files of a PEFT folder.
 * @param source owned by this call
 * @throws M4Error `FORMAT_INVALID`, `FORMAT_UNSUPPORTED` when it is no LoRA of a LLaMA, `SHAPE_MISMATCH`
 */
export function readGgufAdapter(source: ByteSource, abi: Abi, options: PeftOptions = {}): Map<string, Uint8Array> {
  using file = openGguf(source)
  for (const [key, expected] of [
    ['general.type', 'adapter'],
    ['adapter.type', 'lora'],
    ['general.architecture', 'llama'],
  ] as const)
    if (file.metadata[key] !== expected)
      throw new M4Error(
        'FORMAT_UNSUPPORTED',
        `${source.name}: ${key} is ${JSON.stringify(file.metadata[key])}, expected "${expected}".`,
        { hint: 'Expected an adapter from convert_lora_to_gguf.py for a LLaMA.' },
      )
  const alpha = file.metadata['adapter.lora.alpha']
  if (typeof alpha !== 'number' || !Number.isFinite(alpha))
    throw new M4Error('FORMAT_INVALID', `${source.name}: adapter.lora.alpha is ${String(alpha)}, expected a number.`)
  const pairs = ggufPairs(file, source.name).map(({ layer, matrix, rank, a, b, ...dims }): PeftPair => {
    const module = MODULES[matrix]!
    requireFit(abi, { layer, module, place: PEFT_PLACES[module]!, ...dims })
    const rows = ROTARY.has(matrix) ? fromInterleaved(b, rank, abi.sourceHeadWidth) : b
    return { layer, module, rank, alpha: alpha === 0 ? rank : alpha, a, b: rows }
  })
  return loraFiles(pairs, { ...options, rsLora: false, layers: abi.layers })
}

interface GgufPair extends Pick<ScaledPair, 'layer' | 'rank' | 'in' | 'out' | 'a' | 'b'> {
  readonly matrix: string
}

function ggufPairs(file: Checkpoint, name: string): GgufPair[] {
  const invalid = (what: string) =>
    new M4Error('FORMAT_INVALID', `${name}: ${what}.`, { hint: 'Convert the adapter again.' })
  const pairs: GgufPair[] = []
  for (const tensor of file.tensors.values()) {
    const [, layer, matrix, half] = TENSOR.exec(tensor.name) ?? []
    if (!matrix || !Object.hasOwn(MODULES, matrix)) throw invalid(`${tensor.name} is no LoRA matrix of a decoder layer`)
    const other = file.tensors.get(tensor.name.replace(/.$/, half === 'a' ? 'b' : 'a'))
    if (!other) throw invalid(`${tensor.name} has no other half`)
    if (half === 'b') continue
    const [rank, inner, out] = [tensor.dims[0]!, tensor.dims[1]!, other.dims[0]!]
    if (tensor.dims.length !== 2 || other.dims.length !== 2 || rank < 1 || other.dims[1] !== rank)
      throw invalid(`${tensor.name} is ${formatDims(tensor.dims)} and its other half ${formatDims(other.dims)}`)
    const [a, b] = [tensor.float32(), other.float32()]
    if (!a.every(Number.isFinite) || !b.every(Number.isFinite))
      throw invalid(`${tensor.name} or its other half holds a value that is not finite`)
    pairs.push({ layer: Number(layer), matrix, rank, in: inner, out, a, b })
  }
  if (!pairs.length) throw invalid('it holds no tensors')
  return pairs
}

function requireFit(
  abi: Abi,
  { layer, module, place, ...pair }: Pick<ScaledPair, 'layer' | 'module' | 'place' | 'in' | 'out'>,
): void {
  const shape = layer < abi.layers ? partShape(abi, place) : undefined
  if (shape && shape.in === pair.in && shape.out === pair.out) return
  const expected = shape ? `${shape.in} to ${shape.out}` : `a place of ${abi.layers} layers`
  throw new M4Error(
    'SHAPE_MISMATCH',
    `layers.${layer}.${module}: expected ${expected}, got ${pair.in} to ${pair.out}.`,
    {
      hint: 'Was it made for this base model?',
      details: { layer, module },
    },
  )
}

/** B [out, r] with rotary rows in halves → the same in interleaved pairs, as convert_hf_to_gguf.py permutes them. */
function toInterleaved(b: Float32Array, rank: number, headWidth: number): Float32Array {
  const out = new Float32Array(b.length)
  for (let row = 0; row < b.length / rank; row++)
    out.set(b.subarray(row * rank, (row + 1) * rank), interleavedRow(row, headWidth) * rank)
  return out
}

function fromInterleaved(b: Float32Array, rank: number, headWidth: number): Float32Array {
  const out = new Float32Array(b.length)
  for (let row = 0; row < b.length / rank; row++) {
    const from = interleavedRow(row, headWidth) * rank
    out.set(b.subarray(from, from + rank), row * rank)
  }
  return out
}
