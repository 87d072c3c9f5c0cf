/**
 * PEFT adapter folders: `adapter_config.json` beside `adapter_model.safetensors` or `adapter_model.bin`.
 *
 * @paper LoRA arXiv:2106.09685 · prompt tuning arXiv:2104.08691 · prefix tuning arXiv:2101.00190
 * @reference huggingface/peft@4df9c5a (0.5.0)
 */

import { existsSync, readFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { type Checkpoint, type CheckpointTensor, openCheckpoint } from '../checkpoint/index.js'
import { formatDims } from '../core/dims.js'
import { M4Error, wrapSystemError } from '../core/errors.js'
import type { Abi } from '../firmware/manifest.js'
import { type AdapterFinding, finding, type ReadAdapter } from './findings.js'
import { gatherLora, type LoraCandidate } from './lora-parts.js'
import { type PeftConfig, type PeftType, parsePeftConfig } from './peft-config.js'
import { PEFT_CONFIG_FILE, PEFT_PLACES, PEFT_WEIGHT_FILE } from './peft-names.js'
import { packHeads } from './places.js'

const WEIGHT_FILES = [PEFT_WEIGHT_FILE, 'adapter_model.bin']

/** `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`, or with the adapter's name: `…lora_A.default.weight`. */
const LORA_KEY = /^(?:.*\.)?(model\.layers\.(\d+)\.([a-z_]+\.[a-z_]+))\.lora_([AB])(?:\.[^.]+)?\.weight$/

type Reader = (abi: Abi, name: string, config: PeftConfig, checkpoint: Checkpoint) => ReadAdapter

const READERS: Readonly<Record<PeftType, Reader>> = Object.freeze({
  LORA: readLora,
  PROMPT_TUNING: readPrompt,
  PREFIX_TUNING: readPrefix,
})

/**
 * Reads an adapter for a base model. What does not fit is told as findings, so that all of it can be shown at once; use
 * `usableAdapter` to refuse.
 * @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID`, `FORMAT_UNSUPPORTED`, `UNSAFE_PICKLE` for files that are malformed or of another kind
 */
export function readPeftAdapter(folder: string, abi: Abi): ReadAdapter {
  const { config, checkpoint } = openPeft(folder)
  using _owned = checkpoint
  return READERS[config.type](abi, basename(resolve(folder)), config, checkpoint)
}

/**
 * The parts of a PEFT folder; the caller disposes the checkpoint.
 * @throws M4Error as `readPeftAdapter`
 */
export function openPeft(folder: string): { readonly config: PeftConfig; readonly checkpoint: Checkpoint } {
  const path = join(folder, PEFT_CONFIG_FILE)
  const config = parsePeftConfig(path, readText(path))
  const file = WEIGHT_FILES.map((name) => join(folder, name)).find((candidate) => existsSync(candidate))
  if (!file)
    throw new M4Error('FILE_NOT_FOUND', `${folder} has neither ${WEIGHT_FILES.join(' nor ')}.`, {
      hint: 'Save the adapter with save_pretrained.',
    })
  return { config, checkpoint: openCheckpoint(file) }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw wrapSystemError(error, 'Reading the adapter')
  }
}

function readLora(abi: Abi, name: string, config: PeftConfig, checkpoint: Checkpoint): ReadAdapter {
  const { candidates, findings } = loraCandidates(checkpoint.tensors.values(), config.lora)
  for (const target of targetsWithout(config, [...candidates.keys()]))
    findings.push(finding('target-without-tensors', 'error', `target module "${target}" has no matrices in the file.`))
  const gathered = gatherLora(abi, candidates.values(), 'half')
  return {
    adapter: { name, lora: gathered.lora },
    findings: [...findings, ...gathered.findings],
    matched: gathered.matched,
    total: checkpoint.tensors.size,
  }
}

/**
 * Pairs by module, e.g. `model.layers.0.self_attn.q_proj`; what is no LoRA matrix is told.
 * @throws M4Error `FORMAT_INVALID` for two matrices of one place
 */
export function loraCandidates(
  tensors: Iterable<CheckpointTensor>,
  facts: (module: string) => { readonly rank: number | undefined; readonly scale: number },
): { candidates: Map<string, LoraCandidate>; findings: AdapterFinding[] } {
  const findings: AdapterFinding[] = []
  const candidates = new Map<string, LoraCandidate>()
  for (const tensor of tensors) {
    const [, module, layer, kind, half] = LORA_KEY.exec(tensor.name) ?? []
    if (!module || !kind) {
      findings.push(
        finding('unknown-tensor', 'error', `${tensor.name} is no LoRA matrix of a decoder layer.`, tensor.name),
      )
      continue
    }
    const place = Object.hasOwn(PEFT_PLACES, kind) ? PEFT_PLACES[kind]! : { site: kind, part: kind }
    const known = candidates.get(module)
    const candidate = known ?? { layer: Number(layer), place, label: module, ...facts(module) }
    if (!known) candidates.set(module, candidate)
    const key = half === 'A' ? 'a' : 'b'
    if (candidate[key])
      throw new M4Error('FORMAT_INVALID', `${module} has two matrices lora_${half}.`, {
        hint: 'Save one adapter a file.',
        details: { tensors: [candidate[key].tensor, tensor.name] },
      })
    candidate[key] = { tensor: tensor.name, dims: tensor.dims, data: tensor.float32() }
  }
  return { candidates, findings }
}

/** Targets that no module of the file ends with. A pattern or `all-linear` names no single module. */
function targetsWithout({ targets }: PeftConfig, modules: readonly string[]): string[] {
  const plain = targets.filter((target) => /^[\w.]+$/.test(target))
  return plain.filter((target) => !modules.some((module) => module === target || module.endsWith(`.${target}`)))
}

/** The one tensor of the prompt methods, and what else the file holds. */
function promptEmbeddings(checkpoint: Checkpoint): { tensor: CheckpointTensor; findings: AdapterFinding[] } {
  const tensor = checkpoint.tensors.get('prompt_embeddings')
  if (!tensor)
    throw new M4Error('FORMAT_INVALID', 'The adapter has no tensor "prompt_embeddings".', {
      hint: 'Save it with save_pretrained of PEFT.',
      details: { tensors: [...checkpoint.tensors.keys()].slice(0, 20) },
    })
  const findings = [...checkpoint.tensors.keys()]
    .filter((key) => key !== tensor.name)
    .map((key) => finding('unknown-tensor', 'error', `${key} is no part of a prompt or prefix adapter.`, key))
  return { tensor, findings }
}

/** The embeddings when they have the shape [n, width] and are finite; zeros are told. */
function checkedEmbeddings(
  tensor: CheckpointTensor,
  tokens: number,
  width: number,
  findings: AdapterFinding[],
): Float32Array | undefined {
  if (tensor.dims.length !== 2 || tensor.dims[0] !== tokens || tensor.dims[1] !== width) {
    const message = `${tensor.name}: expected ${formatDims([tokens, width])}, got ${formatDims(tensor.dims)}.`
    findings.push(finding('wrong-shape', 'error', message, tensor.name))
    return undefined
  }
  const data = tensor.float32()
  if (!data.every(Number.isFinite)) {
    findings.push(finding('not-finite', 'error', `${tensor.name} holds a value that is not finite.`, tensor.name))
    return undefined
  }
  if (data.every((value) => value === 0))
    findings.push(finding('no-effect', 'warning', `${tensor.name} is all zero.`, tensor.name))
  return data
}

function readPrompt(abi: Abi, name: string, config: PeftConfig, checkpoint: Checkpoint): ReadAdapter {
  const { tensor, findings } = promptEmbeddings(checkpoint)
  const tokens = config.virtualTokens!
  const embeddings = checkedEmbeddings(tensor, tokens, abi.width, findings)
  return {
    adapter: { name, lora: new Map(), ...(embeddings ? { softPrompt: { tokens, embeddings } } : {}) },
    findings,
    matched: embeddings ? 1 : 0,
    total: checkpoint.tensors.size,
  }
}

/** [n, 2·L·K·D]: of each token the key and value of layer 0, then of layer 1, … */
function readPrefix(abi: Abi, name: string, config: PeftConfig, checkpoint: Checkpoint): ReadAdapter {
  const { tensor, findings } = promptEmbeddings(checkpoint)
  const tokens = config.virtualTokens!
  const row = abi.kvHeads * abi.sourceHeadWidth
  const data = checkedEmbeddings(tensor, tokens, 2 * abi.layers * row, findings)
  const heads = (index: number, kind: 'key' | 'value') =>
    packHeads(abi, tokens, kind, (token, head, inside) => {
      const start = (token * 2 * abi.layers + index) * row
      return data![start + head * abi.sourceHeadWidth + inside]!
    })
  const layers = data
    ? Array.from({ length: abi.layers }, (_, l) => ({ key: heads(2 * l, 'key'), value: heads(2 * l + 1, 'value') }))
    : undefined
  return {
    adapter: { name, lora: new Map(), ...(layers ? { prefix: { tokens, layers } } : {}) },
    findings,
    matched: layers ? 1 : 0,
    total: checkpoint.tensors.size,
  }
}
