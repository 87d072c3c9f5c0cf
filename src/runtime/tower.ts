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
}

interface Feed {
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly data: Float32Array | Uint8Array | BigInt64Array
}

type Signal = AbortSignal | undefined

/** Sessions of one tower. */
class Tower extends Handle {
  /** E, the same in all towers of one ImageBind. */
  readonly joint: number
  readonly #engine: Engine
  readonly #encode: Session
  readonly #frontEnd: Session | undefined

  constructor(engine: Engine, encode: Session, frontEnd: Session | undefined, joint: number) {
    super('tower')
    this.joint = joint
    this.#engine = engine
    this.#encode = encode
    this.#frontEnd = frontEnd
  }

  /** Dims of the input that is no adapter's. */
  protected inputDims(name: string): readonly (number | string)[] {
    return this.#encode.inputs.find((input) => input.name === name)!.dims
  }

  protected async runFrontEnd(feeds: Record<string, Feed>, output: string, signal: Signal): Promise<Float32Array> {
    this.assertLive('encode')
    return this.#run(this.#frontEnd!, feeds, output, signal)
  }

  protected async runEncoder(name: string, feed: Feed, signal: Signal): Promise<ClipHeads> {
    this.assertLive('encode')
    const feeds = { [name]: feed, ...withoutAdapter(this.#encode) }
    const heads = await this.#run(this.#encode, feeds, 'head', signal)
    return { heads, clips: heads.length / this.joint }
  }

  async #run(session: Session, feeds: Record<string, Feed>, output: string, signal: Signal): Promise<Float32Array> {
    const tensors: Record<string, Tensor> = {}
    try {
      for (const [name, { dtype, dims, data }] of Object.entries(feeds))
        tensors[name] = this.#engine.tensor(dtype, dims, data as DataOf)
      const outputs = await session.run(tensors, [output], { signal })
      const values = (outputs[output]!.data as Float32Array).slice()
      outputs[output]!.dispose()
      return values
    } finally {
      for (const tensor of Object.values(tensors)) tensor.dispose()
    }
  }

  protected override release(): void {
    this.#encode.dispose()
    this.#frontEnd?.dispose()
  }
}

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
    const pixels = await this.runFrontEnd(feeds, 'pixels', signal)
    // [B, Q, 3, frames, S, S], or without frames; one frame stands for two equal ones.
    const dims = this.inputDims('pixels').map((dim) => (typeof dim === 'number' ? dim : 1))
    return this.runEncoder('pixels', { dtype: 'float32', dims, data: pixels }, signal)
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
    const mel = await this.runFrontEnd(feeds, 'melspec', signal)
    const dims = this.inputDims('mel').map((dim, i) => (typeof dim === 'number' ? dim : i === 1 ? spans.length : 1))
    return this.runEncoder('mel', { dtype: 'float32', dims, data: mel }, signal)
  }
}

export class MotionEncoder extends Tower {
  /** Windows stand for clips. @throws M4Error `EMPTY_INPUT`, `MOTION_INVALID` */
  async encode(recording: MotionRecording, signal?: AbortSignal): Promise<ClipHeads> {
    const [, channels, windowSamples] = this.inputDims('motion') as [string, number, number]
    const { windows } = motionWindows(recording, { ...IMAGEBIND_MOTION, channels, windowSamples })
    const heads = new Float32Array(windows.length * this.joint)
    for (const [i, data] of windows.entries()) {
      const one = { dtype: 'float32', dims: [1, channels, windowSamples], data } as const
      heads.set((await this.runEncoder('motion', one, signal)).heads, i * this.joint)
    }
    return { heads, clips: windows.length }
  }
}

type TowerClass<T extends Tower> = new (
  engine: Engine,
  encode: Session,
  frontEnd: Session | undefined,
  joint: number,
) => T

const opener =
  <T extends Tower>(Kind: TowerClass<T>, frontEnd: boolean) =>
  async (image: Image, role: Role, entry: ModuleEntry, engine: Engine): Promise<T> => {
    const encode = await engine.createSession({ path: image.graphPath(role, 'encode') })
    try {
      const front = frontEnd ? await engine.createSession({ path: image.graphPath(role, 'frontEnd') }) : undefined
      return new Kind(engine, encode, front, configNumber(entry, 'joint'))
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
