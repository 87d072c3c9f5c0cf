/** A tower for pictures against texts: LoRA in one of three designs, the tower's own head, and the scale. */

import { openCheckpoint } from '../../checkpoint/index.js'
import { M4Error, unknownName } from '../../core/errors.js'
import { type HostTensor, hostTensor } from '../../core/tensor.js'
import {
  type EncoderTraining,
  encoderProgram,
  isImageBindHead,
  turned,
  withLoraSites,
} from '../../train/encoders/index.js'
import { trainable } from '../../train/full.js'
import { retrievalHead } from '../../train/heads/index.js'
import type { ParityCase } from '../case.js'
import type { Runner } from '../types.js'
import { gradientsAt, openTower, weightGradients } from './imagebind-training.js'

/** One pair of a layer: the products that it changes, and the names of its matrices in the file. */
interface Pair {
  readonly path: (layer: number) => string
  /** None: the graph's own adapter input beside the attention. */
  readonly products: readonly string[]
  readonly names: (layer: number) => readonly [a: string, b: string]
}

const below = (place: string) => (l: number) =>
  ['A', 'B'].map((half) => `modality_trunks.vision.blocks.${l}.attn.${place}.lora_${half}.weight`) as [string, string]
const number = (l: number) => String(l).padStart(3, '0')

/** `config.variant` */
const VARIANTS: Readonly<Record<string, readonly Pair[]>> = {
  inproj: [{ path: (l) => `layers.${l}/attn/qkv`, products: ['q', 'k', 'v'], names: below('in_proj') }],
  qv: [
    { path: (l) => `layers.${l}/attn/q`, products: ['q'], names: below('q_proj') },
    { path: (l) => `layers.${l}/attn/v`, products: ['v'], names: below('v_proj') },
  ],
  iblora: [{ path: (l) => `layers.${l}/attn`, products: [], names: (l) => [`w_a_${number(l)}`, `w_b_${number(l)}`] }],
}

export const runVitInfoNce: Runner = async (run) => {
  const { parityCase } = run
  const { variant, rank, lora_alpha: alpha } = parityCase.config
  if (typeof variant !== 'string' || !Object.hasOwn(VARIANTS, variant))
    throw unknownName('variant of LoRA', String(variant), Object.keys(VARIANTS))
  const pairs = VARIANTS[variant]!
  using tower = openTower(parityCase, 'vision')
  const layers = Array.from({ length: tower.config.layers }, (_, l) => l)
  const sites = layers.flatMap((l) =>
    pairs.flatMap(({ path, products }) =>
      products.length ? [{ path: path(l), products: products.map((part) => `layers.${l}/attn/${part}`) }] : [],
    ),
  )
  const graph = withLoraSites(tower.graph, sites)
  const trained = new Set(layers.flatMap((l) => pairs.map(({ path }) => path(l))))
  const full = trainable(graph, tower.weights, { select: isImageBindHead, wanted: ['embedding'] })
  const training: EncoderTraining = {
    graph,
    value: 'embedding',
    full,
    lora: { rank: Number(rank), select: (path) => trained.has(path) },
  }
  const program = encoderProgram(training, retrievalHead({ in: tower.config.joint }))
  // The scale is no part of what is trained: here B holds it, and its gradient is taken out again.
  const scale = typeof alpha === 'number' ? alpha / Number(rank) : 1
  const values = program.initial(0)
  using file = openCheckpoint(adapterPath(parityCase))
  for (const l of layers)
    for (const { path, names } of pairs)
      for (const [i, half] of ['A', 'B'].entries()) {
        const { dims, float32 } = readMatrix(file, names(l)[i]!)
        const [rows, columns] = dims as [number, number]
        const data = turned(float32(), rows, columns).data
        values.set(`lora/${path(l)}/${half}`, half === 'A' ? data : data.map((x) => x * scale))
      }
  values.set('head/logScale', parityCase.input('log_scale').data as Float32Array)
  const { dims, data } = parityCase.input('image')
  const pixels = hostTensor('float32', [dims[0]!, 1, dims[1]!, 1, ...dims.slice(2)], data as never) // one clip, one frame
  const batch = { pixels, 'target/pair': parityCase.input('text_embeddings') }
  const results = await gradientsAt(run, program, values, batch)
  const tensors = new Map<string, HostTensor>([
    ['loss', results.get('loss')!],
    ['grad.log_scale', results.get('gradient/head/logScale')!],
    ...weightGradients('vision', full.parameters, results),
  ])
  for (const l of layers)
    for (const { path, names } of pairs)
      for (const [i, half] of ['A', 'B'].entries()) {
        const gradient = results.get(`gradient/lora/${path(l)}/${half}`)!
        const [rows, columns] = gradient.dims as [number, number]
        const own = turned(gradient.data as Float32Array, rows, columns)
        const given = half === 'A' ? own.data : own.data.map((x) => x * scale)
        tensors.set(`grad.${names(l)[i]}`, hostTensor('float32', own.dims, given))
      }
  return { tensors }
}

function adapterPath({ files, path, name }: ParityCase): string {
  const file = files.find(({ role }) => role === 'LoRA adapter')
  if (!file) throw new M4Error('FORMAT_INVALID', `${name}: the case has no adapter.`)
  return path(file.file)
}

function readMatrix(file: ReturnType<typeof openCheckpoint>, name: string) {
  const tensor = file.tensors.get(name)
  if (!tensor) throw unknownName('tensor of the adapter', name, file.tensors.keys())
  return { dims: tensor.dims, float32: () => tensor.float32() }
}
