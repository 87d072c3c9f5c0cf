/**
 * Encoders of ImageBind beside that of text: a picture, a sound or a recording of motion → the joint space. Each module brings its
 * front end along as a graph; clips of a sound and windows of motion are averaged at length 1.
 *
 * @paper arXiv:2305.05665 · @reference facebookresearch/ImageBind@53680b0:imagebind/data.py
 */

import { elementCount } from '../core/dims.js'
import { Handle } from '../core/disposal.js'
import type { DataOf, DType } from '../core/dtypes.js'
import type { Engine, Session, Tensor } from '../engine/types.js'
import type { Image } from '../firmware/image.js'
import type { ModuleEntry, Role } from '../firmware/manifest.js'
import {
  clipSpans,
  IMAGEBIND_MOTION,
  IMAGEBIND_SOUND_CLIPS,
  type MotionRecording,
  motionWindows,
  type Picture,
  SPEECH_RATE_HZ,
} from '../media/index.js'
import { configNumber } from './module-config.js'

/** What the head gives for each clip, neither normalised nor scaled: path 1 projects this, path 3 compares its mean. */
export interface ClipHeads {
  readonly heads: Float32Array // [Q, E]
  readonly clips: number
  /** What the post-processor makes of them: each clip at length 1, times the scale of the tower, then their mean. [E] */
  readonly embedding: Float32Array
  /** What a head reads where the encoder gives its middle layers (`pooled/…`); else it reads `embedding`. [F] */
  readonly features?: Float32Array
}

interface Feed {
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly data: Float32Array | Uint8Array | BigInt64Array
}

type Signal = AbortSignal | undefined

/** Opens a graph of the module. */
type OpenGraph = (graph: string) => Promise<Session>

/** Sessions of one tower. */
class Tower extends Handle {
  /** E, the same in all towers of one ImageBind; undefined where only the graph `join` knows it. */
  readonly joint: number | undefined
  readonly #engine: Engine
  readonly #encode: Session
  readonly #open: OpenGraph
  readonly #frontEnds: Map<string, Session>

  /** @param frontEnds those that are open already; `open` is asked for others when they are first needed */
  constructor(
    engine: Engine,
    encode: Session,
    frontEnds: Map<string, Session>,
    joint: number | undefined,
    open: OpenGraph,
  ) {
    super('tower')
    this.joint = joint
    this.#engine = engine
    this.#encode = encode
    this.#open = open
    this.#frontEnds = frontEnds
  }

  /** Dims of the input that is no adapter's. */
  protected inputDims(name: string): readonly (number | string)[] {
    return this.#encode.inputs.find((input) => input.name === name)!.dims
  }

  protected async runFrontEnd(
    graph: 'frontEnd' | 'video' | 'classify' | 'join',
    feeds: Record<string, Feed>,
    output: string,
    signal: Signal,
  ): Promise<Float32Array> {
    this.assertLive('encode')
    const session = this.#frontEnds.get(graph) ?? (await this.#open(graph))
    this.#frontEnds.set(graph, session)
    const [values] = await this.#run(session, feeds, [output], signal)
    return values!
  }

  /** Probabilities of the head that stands beside the encoder. @param features [C] */
  async classify(features: Float32Array, signal?: AbortSignal): Promise<Float32Array> {
    const feeds = { features: { dtype: 'float32', dims: [1, features.length], data: features } as const }
    return this.runFrontEnd('classify', feeds, 'probabilities', signal)
  }

  protected async runEncoder(name: string, feed: Feed, signal: Signal): Promise<ClipHeads> {
    this.assertLive('encode')
    const feeds = { [name]: feed, ...withoutAdapter(this.#encode) }
    const pooled = pooledOutputs(this.#encode)
    if (pooled.length) return this.#joined(await this.#run(this.#encode, feeds, pooled, signal), signal)
    const [heads, embedding] = await this.#run(this.#encode, feeds, ['head', 'embedding'], signal)
    return { heads: heads!, clips: heads!.length / this.joint!, embedding: embedding! }
  }

  /** Layers side by side, each at length 1 so that none drowns the others, then through the graph `join`. One clip. */
  async #joined(layers: readonly Float32Array[], signal: Signal): Promise<ClipHeads> {
    const features = Float32Array.from(layers.flatMap((layer) => [...toUnitLength(layer)])) // [F]
    const feeds = { features: { dtype: 'float32', dims: [1, features.length], data: features } as const }
    const heads = await this.runFrontEnd('join', feeds, 'head', signal)
    return { heads, clips: 1, embedding: toUnitLength(heads.slice()), features }
  }

  /** The outputs, copied. */
  async #run(
    session: Session,
    feeds: Record<string, Feed>,
    names: readonly string[],
    signal: Signal,
  ): Promise<Float32Array[]> {
    const tensors: Record<string, Tensor> = {}
    try {
      for (const [name, { dtype, dims, data }] of Object.entries(feeds))
        tensors[name] = this.#engine.tensor(dtype, dims, data as DataOf)
      const outputs = await session.run(tensors, names, { signal })
      return names.map((name) => {
        const values = (outputs[name]!.data as Float32Array).slice()
        outputs[name]!.dispose()
        return values
      })
    } finally {
      for (const tensor of Object.values(tensors)) tensor.dispose()
    }
  }

  protected override release(): void {
    this.#encode.dispose()
    for (const session of this.#frontEnds.values()) session.dispose()
  }
}

/** Means over places behind blocks in the middle of an encoder that has no space of its own. */
const pooledOutputs = (encode: Session): string[] =>
  encode.outputs.map(({ name }) => name).filter((name) => name.startsWith('pooled/'))

/** Inputs of LoRA at rank 0: the base, bit for bit. */
export function withoutAdapter(session: Session): Record<string, Feed> {
  const feeds: Record<string, Feed> = {}
  for (const { name, dims } of session.inputs)
    if (name.startsWith('lora/')) {
      const sizes = dims.map((dim) => (typeof dim === 'number' ? dim : dim === 'R' ? 0 : 1))
      feeds[name] = { dtype: 'float32', dims: sizes, data: new Float32Array(elementCount(sizes)) }
    }
  return feeds
}

export class PictureEncoder extends Tower {
  /** One picture, one clip. */
  async encode({ data, width, height }: Picture, signal?: AbortSignal): Promise<ClipHeads> {
    const feeds = { picture: { dtype: 'uint8', dims: [height, width, 3], data } as const }
    const pixels = await this.runFrontEnd('frontEnd', feeds, 'pixels', signal)
    // [B, Q, 3, frames, S, S], or without frames; one frame stands for two equal ones.
    const dims = this.inputDims('pixels').map((dim) => (typeof dim === 'number' ? dim : 1))
    return this.runEncoder('pixels', { dtype: 'float32', dims, data: pixels }, signal)
  }

  /**
   * Three crops of each clip, all of them clips to the encoder.
   * @param clips of one video: the frames that are looked at, all of one size
   */
  async encodeVideo(clips: readonly (readonly Picture[])[], signal?: AbortSignal): Promise<ClipHeads> {
    const seen: ClipHeads[] = []
    for (const frames of clips) {
      const { width, height } = frames[0]!
      const dims = [3, frames.length, height, width]
      const feeds = { clip: { dtype: 'uint8', dims, data: planesOf(frames) } as const }
      const data = await this.runFrontEnd('video', feeds, 'crops', signal)
      // [B, Q, 3, frames, S, S]
      const [, , channels, , ...size] = this.inputDims('pixels') as number[]
      const sizes = [1, CROPS, channels!, data.length / (CROPS * channels! * size[0]! * size[1]!), ...size]
      seen.push(await this.runEncoder('pixels', { dtype: 'float32', dims: sizes, data }, signal))
    }
    return joinClips(seen)
  }
}

/** Places of a frame that the video front end looks at. */
const CROPS = 3

/** RGB of each frame → uint8 [3, T, H, W] */
export function planesOf(frames: readonly Picture[]): Uint8Array {
  const dots = frames[0]!.width * frames[0]!.height
  const out = new Uint8Array(3 * frames.length * dots)
  for (const [t, { data }] of frames.entries())
    for (let channel = 0; channel < 3; channel++) {
      const from = (channel * frames.length + t) * dots
      for (let i = 0; i < dots; i++) out[from + i] = data[3 * i + channel]!
    }
  return out
}

/** Runs of as many clips each → one. */
function joinClips(runs: readonly ClipHeads[]): ClipHeads {
  const joint = runs[0]!.embedding.length
  const heads = new Float32Array(runs.reduce((count, run) => count + run.heads.length, 0))
  let at = 0
  for (const run of runs) {
    heads.set(run.heads, at)
    at += run.heads.length
  }
  const features = runs.flatMap((run) => run.features ?? [])
  return {
    heads,
    clips: heads.length / joint,
    embedding: meanOfRows(runs.map(({ embedding }) => embedding)),
    ...(features.length ? { features: meanOfRows(features) } : {}),
  }
}

export class SoundEncoder extends Tower {
  /** @param channels at 16 kHz, 0.1 s or more. [N] each */
  async encode(channels: readonly Float32Array[], signal?: AbortSignal): Promise<ClipHeads> {
    const count = channels[0]!.length
    const samples = new Float32Array(channels.length * count)
    for (const [i, channel] of channels.entries()) samples.set(channel, i * count)
    const spans = clipSpans(count, SPEECH_RATE_HZ, IMAGEBIND_SOUND_CLIPS)
    const places = (end: 0 | 1): Feed => ({
      dtype: 'int64',
      dims: [spans.length],
      data: BigInt64Array.from(spans, (span) => BigInt(span[end])),
    })
    const feeds = {
      samples: { dtype: 'float32', dims: [channels.length, count], data: samples } as const,
      starts: places(0),
      ends: places(1),
    }
    const mel = await this.runFrontEnd('frontEnd', feeds, 'melspec', signal)
    const dims = this.inputDims('mel').map((dim, i) => (typeof dim === 'number' ? dim : i === 1 ? spans.length : 1))
    return this.runEncoder('mel', { dtype: 'float32', dims, data: mel }, signal)
  }
}

export class MotionEncoder extends Tower {
  /** Windows stand for clips. @throws M4Error `EMPTY_INPUT`, `MOTION_INVALID` */
  async encode(recording: MotionRecording, signal?: AbortSignal): Promise<ClipHeads> {
    const [, channels, windowSamples] = this.inputDims('motion') as [string, number, number]
    const { windows } = motionWindows(recording, { ...IMAGEBIND_MOTION, channels, windowSamples })
    const felt: ClipHeads[] = []
    for (const data of windows)
      felt.push(await this.runEncoder('motion', { dtype: 'float32', dims: [1, channels, windowSamples], data }, signal))
    return joinClips(felt)
  }
}

type TowerClass<T extends Tower> = new (
  engine: Engine,
  encode: Session,
  frontEnds: Map<string, Session>,
  joint: number | undefined,
  open: OpenGraph,
) => T

const opener =
  <T extends Tower>(Kind: TowerClass<T>, frontEnd: boolean) =>
  async (image: Image, role: Role, entry: ModuleEntry, engine: Engine): Promise<T> => {
    const open: OpenGraph = async (graph) => engine.createSession({ path: image.graphPath(role, graph) })
    const encode = await open('encode')
    try {
      const joint = pooledOutputs(encode).length ? undefined : configNumber(entry, 'joint')
      const frontEnds = new Map(frontEnd ? [['frontEnd', await open('frontEnd')]] : [])
      return new Kind(engine, encode, frontEnds, joint, open)
    } catch (error) {
      encode.dispose()
      throw error
    }
  }

export const openPictureEncoder = opener(PictureEncoder, true)
export const openSoundEncoder = opener(SoundEncoder, true)
export const openMotionEncoder = opener(MotionEncoder, false)

/** The embedding of path 3: each clip at length 1, then their mean, which is shorter where the clips differ. [E] */
export function meanOfClips({ heads, clips }: ClipHeads): Float32Array {
  const width = heads.length / clips
  const sum = new Float32Array(width)
  for (let clip = 0; clip < clips; clip++) {
    const unit = toUnitLength(heads.slice(clip * width, (clip + 1) * width))
    for (let i = 0; i < width; i++) sum[i]! += unit[i]!
  }
  for (let i = 0; i < width; i++) sum[i]! /= clips
  return sum
}

/** Of vectors of one length. */
export function meanOfRows(rows: readonly Float32Array[]): Float32Array {
  return rows[0]!.map((_, i) => rows.reduce((sum, row) => sum + row[i]!, 0) / rows.length)
}

/** In place. */
export function toUnitLength(vector: Float32Array): Float32Array {
  const scale = 1 / Math.max(lengthOf(vector), 1e-12)
  for (let i = 0; i < vector.length; i++) vector[i]! *= scale
  return vector
}

export function lengthOf(vector: Float32Array): number {
  let squares = 0
  for (const value of vector) squares += value * value
  return Math.sqrt(squares)
}
