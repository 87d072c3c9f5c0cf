/**
 * LoRA of lit-llama, as the released M4 adapters were trained: on the fused c_attn, for any of q, k, v. Rows of lora_A are the
 * enabled parts below one another, so are those of lora_B (a grouped 1×1 convolution); rotary pairs are interleaved.
 *
 * @reference Lightning-AI/lit-llama@2a464de lit_llama/lora.py `MergedLinear`
 */

import { basename } from 'node:path'
import { type CheckpointTensor, openCheckpoint } from '../checkpoint/index.js'
import { M4Error } from '../core/errors.js'
import type { Abi } from '../firmware/manifest.js'
import { type AdapterFinding, finding, type ReadAdapter } from './findings.js'
import { gatherLora, type LoraCandidate, type Matrix } from './lora-parts.js'
import { partShape } from './places.js'

export interface LitLlamaLoraOptions {
  /** The file does not say it; lit-llama's default is 16. */
  readonly alpha?: number
  /** Which of q, k, v have matrices; lit-llama's default is q and v. */
  readonly enabled?: readonly [q: boolean, k: boolean, v: boolean]
}

const PARTS = ['q', 'k', 'v'] as const
const KEY = /^(?:model\/)?transformer\.h\.(\d+)\.attn\.c_attn\.lora_([AB])$/

/**
 * Reads `lit-llama-lora-finetuned.pth`: a state dict of `transformer.h.N.attn.c_attn.lora_{A,B}` alone.
 * @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID`, `FORMAT_UNSUPPORTED`, `UNSAFE_PICKLE`
 */
export function readLitLlamaLora(path: string, abi: Abi, options: LitLlamaLoraOptions = {}): ReadAdapter {
  const { alpha = 16, enabled = [true, false, true] } = options
  const parts = PARTS.filter((_, i) => enabled[i])
  if (!parts.length) throw new M4Error('USAGE', 'At least one of q, k, v must be enabled.')
  using checkpoint = openCheckpoint(path)
  const findings: AdapterFinding[] = []
  const layers = new Map<number, { A?: CheckpointTensor; B?: CheckpointTensor }>()
  for (const tensor of checkpoint.tensors.values()) {
    const [, layer, half] = KEY.exec(tensor.name) ?? []
    if (!layer) {
      findings.push(finding('unknown-tensor', 'error', `${tensor.name} is no LoRA matrix of c_attn.`, tensor.name))
      continue
    }
    const pair = layers.get(Number(layer)) ?? {}
    layers.set(Number(layer), { ...pair, [half as 'A' | 'B']: tensor })
  }
  const candidates: LoraCandidate[] = []
  for (const [layer, { A, B }] of layers) {
    const rank = A ? A.dims[0]! / parts.length : B!.dims[1]!
    if (!Number.isInteger(rank))
      throw new M4Error(
        'FORMAT_INVALID',
        `${A!.name} has ${A!.dims[0]} rows, which ${parts.length} parts cannot share.`,
        { hint: `Which of q, k, v were trained? Read as ${parts.join(', ')}.` },
      )
    const [aRows, bRows] = [shares(parts.length, () => rank), shares(parts.length, (i) => rowsOf(abi, parts[i]!))]
    for (const [i, part] of parts.entries())
      candidates.push({
        layer,
        place: { site: 'qkv', part },
        label: `transformer.h.${layer}.attn.c_attn (${part})`,
        ...(A ? { a: slice(A, aRows[i]!) } : {}),
        ...(B ? { b: slice(B, bRows[i]!) } : {}),
        rank,
        scale: alpha / rank,
      })
  }
  const gathered = gatherLora(abi, candidates, 'interleaved')
  return {
    adapter: { name: basename(path).replace(/\.[^.]+$/, ''), lora: gathered.lora },
    findings: [...findings, ...gathered.findings],
    // One fused matrix is as many as it has parts.
    matched: gathered.matched / parts.length,
    total: checkpoint.tensors.size,
  }
}

const rowsOf = (abi: Abi, part: string) => partShape(abi, { site: 'qkv', part })?.out ?? 0

interface Share {
  readonly from: number
  readonly to: number
  /** Rows of all shares. */
  readonly all: number
}

function shares(count: number, rows: (i: number) => number): Share[] {
  const sizes = Array.from({ length: count }, (_, i) => rows(i))
  const sum = (end: number) => sizes.slice(0, end).reduce((total, size) => total + size, 0)
  return sizes.map((_, i) => ({ from: sum(i), to: sum(i + 1), all: sum(count) }))
}

/** One part's rows; a matrix whose rows do not add up keeps its dims, so that the check of shapes names it. */
function slice(tensor: CheckpointTensor, { from, to, all }: Share): Matrix {
  if (tensor.dims.length !== 2 || tensor.dims[0] !== all)
    return { tensor: tensor.name, dims: tensor.dims, data: tensor.float32() }
  return { tensor: tensor.name, dims: [to - from, tensor.dims[1]!], data: tensor.float32({ from, to }) }
}
