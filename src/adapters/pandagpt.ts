/**
 * PandaGPT's delta (`pytorch_model.pt`): the projection from ImageBind's joint space into the backbone, and LoRA on q, k, v and o.
 * The file does not say alpha; the released deltas have 32 over rank 32.
 *
 * @paper arXiv:2305.16355 · @reference yxuansu/PandaGPT@9b77e04 code/model/openllama.py
 */

import { basename } from 'node:path'
import { type CheckpointTensor, openCheckpoint } from '../checkpoint/index.js'
import { formatDims } from '../core/dims.js'
import { M4Error } from '../core/errors.js'
import type { Abi } from '../firmware/manifest.js'
import { type AdapterFinding, finding, type ReadAdapter } from './findings.js'
import { gatherLora } from './lora-parts.js'
import { loraCandidates } from './peft.js'

const PROJECTION = 'llama_proj'

/** softToken = W·e + b */
export interface Projection {
  /** Width of the joint space, E. */
  readonly in: number
  /** Width of the backbone, C. */
  readonly out: number
  readonly weight: Float32Array // [C, E]
  readonly bias: Float32Array // [C]
}

export interface ReadPandaGpt extends ReadAdapter {
  readonly projection: Projection
}

/**
 * @param options.alpha of the LoRA, divided by each pair's rank. Default 32
 * @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID` without a projection into this backbone, `UNSAFE_PICKLE`
 */
export function readPandaGpt(path: string, abi: Abi, options: { readonly alpha?: number } = {}): ReadPandaGpt {
  const { alpha = 32 } = options
  using checkpoint = openCheckpoint(path)
  const projection = projectionOf(path, abi, checkpoint.tensors)
  const others = [...checkpoint.tensors.values()].filter(({ name }) => !name.startsWith(`${PROJECTION}.`))
  const { candidates, findings } = loraCandidates(others, () => ({ rank: undefined, scale: 1 }))
  const scaled = [...candidates.values()].map((candidate) => ({
    ...candidate,
    scale: alpha / (candidate.a?.dims[0] ?? alpha),
  }))
  const name = basename(path).replace(/\.[^.]+$/, '')
  const total = checkpoint.tensors.size
  if (!scaled.length)
    return { projection, adapter: { name, lora: new Map() }, findings: [...findings, NO_LORA], matched: 2, total }
  const gathered = gatherLora(abi, scaled, 'half')
  return {
    projection,
    adapter: { name, lora: gathered.lora },
    findings: [...findings, ...gathered.findings],
    matched: gathered.matched + 2,
    total,
  }
}

const NO_LORA: AdapterFinding = finding('no-effect', 'warning', 'the delta holds a projection and no LoRA.')

function projectionOf(path: string, abi: Abi, tensors: ReadonlyMap<string, CheckpointTensor>): Projection {
  const [weight, bias] = ['weight', 'bias'].map((part) => tensors.get(`${PROJECTION}.${part}`))
  const inner = weight?.dims[1]
  if (!weight || !bias || inner === undefined || weight.dims[0] !== abi.width || bias.dims.join() !== `${abi.width}`)
    throw new M4Error(
      'FORMAT_INVALID',
      `${path}: expected ${PROJECTION}.weight [${abi.width}, E] and its bias [${abi.width}], got ${[weight, bias]
        .map((tensor) => (tensor ? formatDims(tensor.dims) : 'none'))
        .join(' and ')}.`,
      { hint: 'Was the delta made for a backbone of this width?' },
    )
  return { in: inner, out: abi.width, weight: weight.float32(), bias: bias.float32() }
}
