/**
 * LLaMA-Adapter as lit-llama saves it: `transformer.h.N.attn.adapter_wte.weight` [n, C] and `…attn.gating_factor`, one gate for all
 * heads ([1], older files) or one for each ([1, H, 1, 1]), of the upper layers.
 *
 * @paper arXiv:2303.16199 · @reference Lightning-AI/lit-llama@2a464de lit_llama/adapter.py
 */

import { basename } from 'node:path'
import { type CheckpointTensor, openCheckpoint } from '../checkpoint/index.js'
import { elementCount, formatDims } from '../core/dims.js'
import type { Abi } from '../firmware/manifest.js'
import { type AdapterFinding, finding } from './findings.js'

export interface ReadPromptAdapter {
  readonly name: string
  /** Learned rows and gates of each layer of the base; undefined where the file has none. */
  readonly layers: readonly ({ readonly rows: Float32Array; readonly gates: Float32Array } | undefined)[]
  readonly findings: readonly AdapterFinding[]
  readonly matched: number
  readonly total: number
}

const KEY = /^(?:model\/)?transformer\.h\.(\d+)\.attn\.(adapter_wte\.weight|gating_factor)$/

/**
 * @param heads query heads of the base, which the ABI does not say
 * @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID`, `UNSAFE_PICKLE`
 */
export function readLitLlamaPrompt(path: string, abi: Abi, heads: number): ReadPromptAdapter {
  using checkpoint = openCheckpoint(path)
  const findings: AdapterFinding[] = []
  const found = new Map<number, { rows?: CheckpointTensor; gate?: CheckpointTensor }>()
  for (const tensor of checkpoint.tensors.values()) {
    const [, layer, kind] = KEY.exec(tensor.name) ?? []
    if (layer === undefined) {
      findings.push(finding('unknown-tensor', 'error', `${tensor.name} is no part of LLaMA-Adapter.`, tensor.name))
      continue
    }
    const half = kind === 'gating_factor' ? 'gate' : 'rows'
    found.set(Number(layer), { ...found.get(Number(layer)), [half]: tensor })
  }
  const layers = Array.from({ length: abi.layers }, (_, l) => {
    const pair = found.get(l)
    return pair && layerOf(l, pair, abi.width, heads, findings)
  })
  for (const layer of found.keys())
    if (layer >= abi.layers)
      findings.push(finding('unknown-site', 'error', `layer ${layer}: this base has ${abi.layers} layers.`))
  const counts = new Set(layers.flatMap((layer) => (layer ? [layer.rows.length] : [])))
  if (counts.size > 1) findings.push(finding('wrong-shape', 'error', 'layers have prompts of different lengths.'))
  const live = layers.filter((layer) => layer?.gates.some((gate) => gate !== 0))
  if (!live.length) findings.push(finding('no-effect', 'error', 'every gate is zero: the adapter is the base model.'))
  return {
    name: basename(path).replace(/\.[^.]+$/, ''),
    layers,
    findings,
    matched: 2 * layers.filter((layer) => layer).length,
    total: checkpoint.tensors.size,
  }
}

function layerOf(
  layer: number,
  { rows, gate }: { rows?: CheckpointTensor; gate?: CheckpointTensor },
  width: number,
  heads: number,
  findings: AdapterFinding[],
): { rows: Float32Array; gates: Float32Array } | undefined {
  const fail = (code: AdapterFinding['code'], message: string, tensor?: CheckpointTensor) => {
    findings.push(finding(code, 'error', `layer ${layer}: ${message}`, tensor?.name))
    return undefined
  }
  if (!rows || !gate)
    return fail('incomplete-pair', `${rows ? 'gating_factor' : 'adapter_wte'} is missing.`, rows ?? gate)
  if (rows.dims.length !== 2 || rows.dims[1] !== width || rows.dims[0] === 0)
    return fail('wrong-shape', `adapter_wte: expected [n, ${width}], got ${formatDims(rows.dims)}.`, rows)
  const count = elementCount(gate.dims)
  if (count !== 1 && count !== heads)
    return fail('wrong-shape', `gating_factor: expected 1 or ${heads} gates, got ${formatDims(gate.dims)}.`, gate)
  const [values, gates] = [rows.float32(), gate.float32()]
  for (const [data, tensor] of [
    [values, rows],
    [gates, gate],
  ] as const)
    if (!data.every(Number.isFinite)) return fail('not-finite', 'it holds a value that is not finite.', tensor)
  return { rows: values, gates: count === 1 ? new Float32Array(heads).fill(gates[0]!) : gates }
}
