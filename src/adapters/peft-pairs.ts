/** The pairs of a PEFT LoRA folder in the checkpoint's own layout, for what does not go through a graph: merging, other formats. */

import { M4Error } from '../core/errors.js'
import { type AdapterFinding, finding } from './findings.js'
import type { LoraCandidate, Matrix } from './lora-parts.js'
import { loraCandidates, openPeft } from './peft.js'
import { peftModule } from './peft-names.js'
import type { Place } from './places.js'

/** y += scale · B·A·x */
export interface ScaledPair {
  readonly layer: number
  /** `self_attn.q_proj` */
  readonly module: string
  readonly place: Place
  readonly rank: number
  readonly scale: number
  readonly in: number
  readonly out: number
  readonly a: Float32Array // [r, in]
  readonly b: Float32Array // [out, r]
}

/**
 * Every pair of the folder, or nothing.
 * @throws M4Error `FORMAT_INVALID` with all findings when a tensor is unknown, alone, misshapen or not finite, or when the
 *   adapter has no effect; `FORMAT_UNSUPPORTED` when it is no LoRA; `FILE_NOT_FOUND`
 */
export function readPeftPairs(folder: string): ScaledPair[] {
  const { config, checkpoint } = openPeft(folder)
  using _owned = checkpoint
  if (config.type !== 'LORA')
    throw new M4Error('FORMAT_UNSUPPORTED', `${folder} is ${config.type}, expected LORA.`, {
      hint: 'Virtual tokens have no other form; only LoRA is converted or merged.',
    })
  const { candidates, findings } = loraCandidates(checkpoint.tensors.values(), config.lora)
  const pairs = [...candidates.values()].flatMap((candidate) => scaledPair(candidate, findings))
  if (!findings.length && pairs.every(isZero))
    findings.push(finding('no-effect', 'error', 'every pair is zero: the adapter is the base model.'))
  if (!findings.length) return pairs
  throw new M4Error(
    'FORMAT_INVALID',
    `${folder}: ${findings[0]!.message}${findings.length > 1 ? ` (and ${findings.length - 1} more)` : ''}`,
    { hint: 'Save the adapter again with save_pretrained.', details: { findings } },
  )
}

const isZero = ({ a, b, scale }: ScaledPair) =>
  scale === 0 || a.every((value) => value === 0) || b.every((value) => value === 0)

function scaledPair(candidate: LoraCandidate, findings: AdapterFinding[]): ScaledPair[] {
  const { a, b, label, layer, place, scale } = candidate
  const fail = (code: AdapterFinding['code'], message: string, tensor?: string) => {
    findings.push(finding(code, 'error', `${label}: ${message}`, tensor))
    return []
  }
  let module: string
  try {
    module = peftModule(place)
  } catch {
    return fail('unknown-site', 'no module of a LLaMA-style decoder.', (a ?? b)?.tensor)
  }
  if (!a || !b) return fail('incomplete-pair', `lora_${a ? 'B' : 'A'} is missing.`, (a ?? b)?.tensor)
  const rank = candidate.rank ?? a.dims[0]!
  const isMatrix = ({ dims }: Matrix) => dims.length === 2
  if (!isMatrix(a) || !isMatrix(b) || a.dims[0] !== rank || b.dims[1] !== rank)
    return fail(
      'wrong-shape',
      `expected A [${rank}, in] and B [out, ${rank}], got [${a.dims}] and [${b.dims}].`,
      a.tensor,
    )
  for (const { data, tensor } of [a, b])
    if (!data.every(Number.isFinite)) return fail('not-finite', 'it holds a value that is not finite.', tensor)
  return [{ layer, module, place, rank, scale, in: a.dims[1]!, out: b.dims[0]!, a: a.data, b: b.data }]
}
