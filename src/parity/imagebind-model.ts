/** A case's ImageBind checkpoint as sessions, a tower when it is first asked for. */

import { type ImageBindLora, readImageBindLora, usableAdapter } from '../adapters/index.js'
import { type Checkpoint, openCheckpoint } from '../checkpoint/index.js'
import type { DataOf } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'
import { type HostTensor, hostTensor } from '../core/tensor.js'
import type { Session, Tensor } from '../engine/types.js'
import { weightsOf } from '../firmware/build.js'
import {
  type ImageBindConfig,
  type ImageBindModality,
  imagebindConfig,
  imagebindGraph,
  imagebindHeadGraph,
  imagebindWeights,
  similarityGraph,
  TOWERS,
  withPictureSize,
  withTunedParts,
} from '../models/index.js'
import { bindLora, loraPlaces } from '../runtime/adapter-binding.js'
import { EXACT, openGraph } from './graphs.js'
import type { CaseRun } from './types.js'

export interface Encoded {
  readonly embedding: HostTensor // [B, E]
  readonly head: HostTensor // [B·Q, E]
}

export interface Variant {
  /** With the case's LoRA of this tower, if it has one. */
  readonly adapter: boolean
  /** With the case's tuned heads and scales. */
  readonly heads: boolean
}

export interface ImageBindModel extends Disposable {
  encode(modality: ImageBindModality, input: HostTensor, variant: Variant): Promise<Encoded>
  similarity(
    a: HostTensor,
    b: HostTensor,
    temperature: number,
  ): Promise<{ logits: HostTensor; probabilities: HostTensor }>
}

interface Tower {
  readonly config: ImageBindConfig
  readonly encode: Session
  readonly adapter: ImageBindLora | undefined
}

/** @throws M4Error as the readers, the models and the engine do */
export function openImageBind({ parityCase, engine, signal }: CaseRun): ImageBindModel {
  const owned: Disposable[] = []
  const keep = <D extends Disposable>(thing: D): D => {
    owned.push(thing)
    return thing
  }
  const open = (path: string): Checkpoint => keep(openCheckpoint(path))
  const filesNamed = (pattern: RegExp) => parityCase.files.filter(({ file }) => pattern.test(file))
  const tunedFile = (pattern: RegExp) => {
    const [file] = filesNamed(pattern)
    return file ? weightsOf(open(parityCase.path(file.file))) : new Map()
  }
  const weights = weightsOf(open(parityCase.checkpointPath()))
  const metadata = { config: parityCase.config }
  const towers = new Map<string, Promise<Tower>>()

  const openTower = async (modality: ImageBindModality, input: HostTensor): Promise<Tower> => {
    const found = imagebindConfig(modality, { format: 'torch', metadata, weights })
    const config = fitted(found, input.dims)
    const graph = imagebindGraph(config, imagebindWeights(config, weights), { ...EXACT, adapters: true })
    const encode = keep(await openGraph(engine, graph, signal))
    const [file] = filesNamed(new RegExp(`lora-${modality}_`))
    const layers = Array.isArray(parityCase.config.layers) ? (parityCase.config.layers as number[]) : undefined
    const adapter = file && readImageBindLora(parityCase.path(file.file), config, layers)
    return { config, encode, adapter }
  }
  const tower = (modality: ImageBindModality, input: HostTensor) => {
    const key = `${modality} ${input.dims.slice(-2).join()}`
    if (!towers.has(key)) towers.set(key, openTower(modality, input))
    return towers.get(key)!
  }
  const run = async (session: Session, feeds: Record<string, Tensor>): Promise<Record<string, HostTensor>> => {
    const results = Object.entries(await session.run(feeds, undefined, { signal }))
    return Object.fromEntries(
      results.map(([name, tensor]) => {
        using result = tensor
        return [name, hostTensor('float32', result.dims, (result.data as DataOf<'float32'>).slice())]
      }),
    )
  }
  const feed = ({ dtype, data }: HostTensor, dims: readonly number[]) => engine.tensor(dtype, dims, data as never)
  const scalar = (value: number) => engine.tensor('float32', [], Float32Array.of(value))

  return {
    encode: async (modality, input, variant) => {
      const { config, encode, adapter } = await tower(modality, input)
      const adapted = variant.adapter ? adapter : undefined
      using lora = bindLora(engine, loraPlaces(encode.inputs), adapted && usableAdapter(adapted))
      const dims = inputDims(config, input.dims)
      using fed = feed(input, dims)
      using causal = engine.tensor('float32', [dims[0]!], new Float32Array(dims[0]!).fill(adapted ? 0 : 1))
      const name = encode.inputs[0]!.name
      const feeds = { [name]: fed, ...(modality === 'text' ? { causal } : {}), ...Object.fromEntries(lora.tensors) }
      const { embedding, head, token } = (await run(encode, feeds)) as unknown as Encoded & { token: HostTensor }
      if (!variant.heads) return { embedding, head }
      const tuned = imagebindWeights(
        config,
        withTunedParts(weights, { heads: tunedFile(/-heads_/), postprocessors: tunedFile(/-postprocessors_/) }),
      )
      using session = await openGraph(engine, imagebindHeadGraph(config), signal)
      using tokens = feed(token, [dims[0]!, token.dims[0]! / dims[0]!, config.width])
      const bound: Record<string, Tensor> = { token: tokens }
      try {
        for (const [name, part] of Object.entries(HEAD_INPUTS))
          bound[name] = engine.tensor('float32', tuned.get(part)!.dims, tuned.get(part)!.float32() as DataOf<'float32'>)
        if (TOWERS[modality].scaled)
          bound.scale = scalar(Math.min(Math.exp(tuned.get('logScale')!.float32()[0]!), config.maxScale))
        return (await run(session, bound)) as unknown as Encoded
      } finally {
        for (const [part, tensor] of Object.entries(bound)) if (part !== 'token') tensor.dispose()
      }
    },
    similarity: async (a, b, temperature) => {
      using session = await openGraph(engine, similarityGraph(a.dims[1]!), signal)
      using first = feed(a, a.dims)
      using second = feed(b, b.dims)
      using divisor = scalar(temperature)
      const feeds = { a: first, b: second, temperature: divisor }
      return (await run(session, feeds)) as unknown as { logits: HostTensor; probabilities: HostTensor }
    },
    [Symbol.dispose]: () => {
      for (const thing of owned.reverse()) thing[Symbol.dispose]()
    },
  }
}

/** Inputs of the head graph → our names of weights. */
const HEAD_INPUTS = { norm: 'norm', 'norm/bias': 'norm/bias', 'head/weight': 'head' }

/** The tower for inputs of this size: pictures may be larger, windows of motion closer together. */
function fitted(config: ImageBindConfig, dims: readonly number[]): ImageBindConfig {
  const { stem } = config
  const [height, width] = dims.slice(-2) as [number, number]
  if (stem.kind === 'patches')
    return stem.height === height && stem.width === width ? config : withPictureSize(config, height, width)
  if (stem.kind !== 'windows') return config
  // What a case does not say of MobileFM's fork, the length of its recordings does.
  const { kernel } = stem
  const windows = (step: number) => Math.floor((width - kernel) / step) + kernel / step
  const step = [stem.step, kernel / 4].find((each) => windows(each) === config.positions - 1) ?? stem.step
  return { ...config, stem: { ...stem, step, samples: width } }
}

/** Clips and frames that the input leaves out are one. The reference takes five dimensions or more for clips. */
function inputDims({ modality, stem }: ImageBindConfig, dims: readonly number[]): readonly number[] {
  if (!TOWERS[modality].clips || stem.kind !== 'patches') return dims
  const clips = dims.length >= 5 ? dims.slice(0, 2) : [dims[0]!, 1]
  const rest = dims.slice(dims.length >= 5 ? 2 : 1) // channels, frames?, height, width
  if (rest[0] !== stem.channels)
    throw new M4Error('SHAPE_MISMATCH', `imagebind-${modality}: expected ${stem.channels} channels, got ${rest[0]}.`)
  const frames = stem.frames > 1 && rest.length === 3
  return [...clips, rest[0]!, ...(frames ? [1] : []), ...rest.slice(1)]
}
