/**
 * What a released file is, told by the names in it, and how much of it fits an image: adapters of the backbone in several formats,
 * and the adapters, heads and scales of ImageBind towers. Nothing is loaded in vain, and nothing is skipped silently.
 */

import { existsSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { openCheckpoint } from '../checkpoint/index.js'
import { formatDims } from '../core/dims.js'
import { M4Error, wrapSystemError } from '../core/errors.js'
import type { Manifest } from '../firmware/manifest.js'
import { type AdapterFinding, finding } from './findings.js'
import { readImageBindLora } from './imagebind-lora.js'
import { readLitLlamaLora } from './lit-llama.js'
import { readLitLlamaPrompt } from './lit-llama-prompt.js'
import { readPandaGpt } from './pandagpt.js'
import { readPeftAdapter } from './peft.js'
import type { AdapterTensors } from './types.js'

export type AdapterKind =
  | 'peft'
  | 'lit-llama-lora'
  | 'lit-llama-adapter'
  | 'pandagpt'
  | 'imagebind-lora'
  | 'imagebind-heads'
  | 'imagebind-postprocessors'

export interface AdapterReport {
  readonly kind: AdapterKind
  readonly name: string
  /** What it attaches to: `backbone`, or a tower such as `imu`. */
  readonly target: string
  readonly matched: number
  readonly total: number
  readonly findings: readonly AdapterFinding[]
  /** Ready for the backbone, where it is one of the backbone and its tensors fit. */
  readonly adapter?: AdapterTensors
}

export interface ReadOptions {
  /** LoRA's alpha, where the file does not say it. */
  readonly alpha?: number
  /** Layers that were adapted, in order, where the file does not say it (ImageBind-LoRA). */
  readonly layers?: readonly number[]
}

/** The sizes that a tower's files must fit. */
interface Tower {
  readonly modality: string
  readonly width: number
  readonly layers: number
  readonly joint: number
}

type Facts = Pick<Manifest, 'abi' | 'modules'>
type Read = (path: string, image: Facts, options: ReadOptions) => Omit<AdapterReport, 'kind'>

const HEAD_NAME = /^(vision|text|audio|imu|depth|thermal)\.(?:proj\.)?\d\.(?:weight|bias)$/

/** In order: the first kind with such a name in the file. */
const FILES: readonly { readonly kind: Exclude<AdapterKind, 'peft'>; readonly sign: RegExp; readonly read: Read }[] = [
  { kind: 'pandagpt', sign: /^llama_proj\.weight$/, read: readDelta },
  { kind: 'lit-llama-lora', sign: /attn\.c_attn\.lora_[AB]$/, read: readLora },
  { kind: 'lit-llama-adapter', sign: /attn\.(?:adapter_wte\.weight|gating_factor)$/, read: readPrompt },
  { kind: 'imagebind-lora', sign: /^w_[ab]_\d{3,}$/, read: readTowerLora },
  {
    kind: 'imagebind-postprocessors',
    sign: /^[a-z]+\.1\.log_logit_scale$/,
    read: readTowerParts(/^([a-z]+)\.1\.log_logit_scale$/),
  },
  { kind: 'imagebind-heads', sign: HEAD_NAME, read: readTowerParts(HEAD_NAME) },
]

/**
 * Reads an adapter of any released kind for an image and tells what fits.
 * @param path a PEFT folder, or a file
 * @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID`, `FORMAT_UNSUPPORTED` for what is none of them, `UNSAFE_PICKLE`
 */
export function recogniseAdapter(path: string, image: Facts, options: ReadOptions = {}): AdapterReport {
  if (isFolder(path)) {
    if (!existsSync(join(path, 'adapter_config.json')))
      throw new M4Error('FILE_NOT_FOUND', `${path} has no adapter_config.json.`, {
        hint: 'Name a PEFT folder, or the adapter file itself.',
      })
    const { adapter, findings, matched, total } = readPeftAdapter(path, image.abi)
    return { kind: 'peft', name: adapter.name, target: 'backbone', matched, total, findings, adapter }
  }
  const names = tensorNames(path)
  const found = FILES.find(({ sign }) => names.some((name) => sign.test(name)))
  if (!found)
    throw new M4Error(
      'FORMAT_UNSUPPORTED',
      `${path} is no adapter that M4 knows: it has ${names.slice(0, 3).join(', ') || 'no tensors'}.`,
      {
        hint: `Known: a PEFT folder, ${FILES.map(({ kind }) => kind).join(', ')}.`,
        details: { names: names.slice(0, 20) },
      },
    )
  return { kind: found.kind, ...found.read(path, image, options) }
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory()
  } catch (error) {
    throw wrapSystemError(error, 'Reading the adapter')
  }
}

function tensorNames(path: string): string[] {
  using checkpoint = openCheckpoint(path)
  return [...checkpoint.tensors.keys()]
}

function readDelta(path: string, { abi }: Facts, { alpha }: ReadOptions) {
  const { adapter, findings, matched, total } = readPandaGpt(path, abi, alpha === undefined ? {} : { alpha })
  return { name: adapter.name, target: 'backbone', matched, total, findings, adapter }
}

function readLora(path: string, { abi }: Facts, { alpha }: ReadOptions) {
  const { adapter, findings, matched, total } = readLitLlamaLora(path, abi, alpha === undefined ? {} : { alpha })
  return { name: adapter.name, target: 'backbone', matched, total, findings, adapter }
}

function readPrompt(path: string, { abi, modules }: Facts) {
  const heads = Number(modules.backbone?.config.heads ?? abi.kvHeads)
  const { name, findings, matched, total } = readLitLlamaPrompt(path, abi, heads)
  return { name, target: 'backbone', matched, total, findings }
}

function readTowerLora(path: string, image: Facts, { layers }: ReadOptions) {
  const towers = towersOf(image)
  const named = /lora-([a-z]+)/.exec(basename(path))?.[1]
  const tower = towers.find(({ modality }) => modality === named)
  if (!tower)
    throw new M4Error('NOT_AVAILABLE', `${path}: this image has no tower "${named ?? 'unknown'}".`, {
      hint: `Files are named imagebind-lora-<modality>_last.safetensors; towers here: ${towers.map(({ modality }) => modality).join(', ') || 'none'}.`,
    })
  const { adapter, findings, matched, total } = readImageBindLora(path, tower, layers)
  const idle = zeroHalf(path)
  return { name: adapter.name, target: tower.modality, matched, total, findings: [...findings, ...idle] }
}

/** An adapter that was never trained: every B still is what it began as. */
function zeroHalf(path: string): AdapterFinding[] {
  using checkpoint = openCheckpoint(path)
  const halves = [...checkpoint.tensors.values()].filter(({ name }) => name.startsWith('w_b_'))
  if (!halves.length || !halves.every((tensor) => tensor.float32().every((value) => value === 0))) return []
  return [finding('no-effect', 'warning', 'every B is zero: the adapter was never trained and is the base model.')]
}

/** Heads and scales: state dicts of all modalities, of which the image may have some. */
function readTowerParts(pattern: RegExp): Read {
  return (path, image) => {
    const towers = new Map(towersOf(image).map((tower) => [tower.modality, tower]))
    using checkpoint = openCheckpoint(path)
    const findings: AdapterFinding[] = []
    const absent = new Set<string>()
    let matched = 0
    for (const { name, dims } of checkpoint.tensors.values()) {
      const modality = pattern.exec(name)?.[1]
      const tower = modality === undefined ? undefined : towers.get(modality)
      if (modality === undefined)
        findings.push(finding('unknown-tensor', 'error', `${name} is no part of a head.`, name))
      else if (!tower) absent.add(modality)
      else if (!fits(dims, tower))
        findings.push(
          finding(
            'wrong-shape',
            'error',
            `${name} is ${formatDims(dims)}, which a head from ${tower.width} to ${tower.joint} has not.`,
            name,
          ),
        )
      else matched++
    }
    for (const modality of absent)
      findings.push(finding('unknown-site', 'warning', `this image has no tower "${modality}": its part stays unused.`))
    if (!matched) findings.push(finding('no-effect', 'error', 'no part of it fits a tower of this image.'))
    const name = basename(path).replace(/\.[^.]+$/, '')
    const target = [...towers.keys()].join(', ') || 'none'
    return { name, target, matched, total: checkpoint.tensors.size, findings }
  }
}

/** A norm's vector, the matrix into the joint space, or a scale. */
const fits = (dims: readonly number[], { width, joint }: Tower) =>
  dims.length === 2 ? dims[0] === joint && dims[1] === width : dims.length < 1 || dims[0] === width || dims[0] === 1

/** The ImageBind towers of an image. */
function towersOf({ modules }: Facts): Tower[] {
  return Object.values(modules).flatMap(({ architecture, config }) => {
    if (!architecture.startsWith('imagebind-')) return []
    const { modality, width, layers, joint } = config as Record<string, unknown>
    const known = typeof width === 'number' && typeof layers === 'number' && typeof joint === 'number'
    return known && typeof modality === 'string' ? [{ modality, width, layers, joint }] : []
  })
}
