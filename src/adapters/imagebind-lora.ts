/**
 * Adapters of ImageBind-LoRA for one tower, in its two designs that share one file format (`w_a_000`, `w_b_000`, …):
 *
 *   attention   from commit dfb5876: one pair [r, C], [C, r] a layer, beside the attention: attn(h) + B(A(h)), no scale
 *   inert       before, as MobileFM pins it: two pairs [r, 3C], [3C, r] a layer, as attributes that nothing ever calls
 *
 * Both wrappers drop the arguments of the block that they wrap: an adapted text tower runs without its causal mask.
 *
 * @reference fabawi/ImageBind-LoRA@232da92 and @127d8c4 models/lora.py
 */

import { basename } from 'node:path'
import { type CheckpointTensor, openCheckpoint } from '../checkpoint/index.js'
import { formatDims } from '../core/dims.js'
import { M4Error } from '../core/errors.js'
import { type Abi, abiId } from '../firmware/manifest.js'
import { type AdapterFinding, finding, type ReadAdapter } from './findings.js'
import { gatherLora, type LoraCandidate, type Matrix } from './lora-parts.js'

export interface ImageBindTower {
  readonly width: number
  readonly layers: number
}

export interface ImageBindLora extends ReadAdapter {
  readonly design: 'attention' | 'inert'
}

const KEY = /^w_([ab])_(\d{3,})$/
const SITE = 'attn'

/**
 * @param adapted layers that were adapted, in order; all where it is absent, as the file does not say it
 * @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID`
 */
export function readImageBindLora(path: string, tower: ImageBindTower, adapted?: readonly number[]): ImageBindLora {
  const layers = adapted ?? Array.from({ length: tower.layers }, (_, i) => i)
  using checkpoint = openCheckpoint(path)
  const findings: AdapterFinding[] = []
  const pairs = new Map<number, { a?: CheckpointTensor; b?: CheckpointTensor }>()
  for (const tensor of checkpoint.tensors.values()) {
    const [, half, index] = KEY.exec(tensor.name) ?? []
    if (!half)
      findings.push(finding('unknown-tensor', 'error', `${tensor.name} is no pair of ImageBind-LoRA.`, tensor.name))
    else pairs.set(Number(index), { ...pairs.get(Number(index)), [half]: tensor })
  }
  const name = basename(path).replace(/\.[^.]+$/, '')
  const total = checkpoint.tensors.size
  const design = designOf(path, pairs, tower.width)
  const perLayer = design === 'inert' ? 2 : 1
  if (pairs.size !== layers.length * perLayer || [...pairs.keys()].some((index) => index >= pairs.size))
    throw new M4Error(
      'FORMAT_INVALID',
      `${path}: expected ${layers.length * perLayer} pairs for ${layers.length} layers, got ${pairs.size}.`,
      { hint: 'Say which layers were adapted: the file does not.' },
    )
  if (design === 'inert') {
    findings.push(
      finding('no-effect', 'warning', 'matrices of this design are never multiplied: only heads and mask differ.'),
    )
    return { design, adapter: { name, lora: new Map() }, findings, matched: 2 * pairs.size, total }
  }
  const candidates = [...pairs].map(
    ([index, { a, b }]): LoraCandidate => ({
      layer: layers[index]!,
      place: { site: SITE, part: SITE },
      label: `pair ${index}`,
      ...(a ? { a: matrix(a) } : {}),
      ...(b ? { b: matrix(b) } : {}),
      rank: undefined,
      scale: 1,
    }),
  )
  const gathered = gatherLora(placesOf(tower), candidates, 'half')
  return {
    design,
    adapter: { name, lora: gathered.lora },
    findings: [...findings, ...gathered.findings],
    matched: gathered.matched,
    total,
  }
}

function designOf(path: string, pairs: ReadonlyMap<number, { a?: CheckpointTensor }>, width: number) {
  const dims = pairs.get(0)?.a?.dims
  const found = dims?.length === 2 ? ({ [width]: 'attention', [3 * width]: 'inert' } as const)[dims[1]!] : undefined
  if (found) return found
  throw new M4Error(
    'FORMAT_INVALID',
    `${path}: expected w_a_000 [r, ${width}] or [r, ${3 * width}], got ${dims ? formatDims(dims) : 'none'}.`,
    { hint: 'Was it made for this tower?' },
  )
}

const matrix = (tensor: CheckpointTensor): Matrix => ({
  tensor: tensor.name,
  dims: tensor.dims,
  data: tensor.float32(),
})

/** The one place of a tower, as the tables of places want it. */
function placesOf({ width, layers }: ImageBindTower): Abi {
  const facts = {
    layers,
    width,
    vocabulary: 0,
    kvHeads: 1,
    headWidth: width,
    sourceHeadWidth: width,
    sites: { [SITE]: { path: SITE, in: width, parts: [{ name: SITE, out: width }] } },
  }
  return { id: abiId(facts), ...facts }
}
