/** Text (and a picture, or an embedding) to a picture, with Stable Diffusion: text encoder, U-Net in a loop, autoencoder. */

import { Handle } from '../../core/disposal.js'
import { M4Error } from '../../core/errors.js'
import { normalSource } from '../../core/random.js'
import { type HostTensor, hostTensor, int64Tensor } from '../../core/tensor.js'
import type { Engine, Session, Tensor } from '../../engine/types.js'
import type { Picture } from '../../media/index.js'
import { clipSequence, type Tokenizer } from '../../tokenizers/index.js'
import { type Conditions, createDenoiser, denoise, type StepDone } from './denoise.js'
import { addNoise, createNoiseSchedule, type NoiseSchedule, type NoiseScheduleFacts } from './noise-schedule.js'
import { latentsOfMoments, pictureFromPlanes, planesFromPicture } from './planes.js'
import { createDiffusionSampler } from './samplers.js'

export interface PictureFacts {
  readonly contextLength: number
  readonly startId: number
  readonly endId: number
  readonly padId: number
  readonly latentChannels: number
  /** Latents along each side of a picture, if nothing else is asked for. */
  readonly latentSize: number
  /** Dots of a picture along each side of one latent. */
  readonly dotsPerLatent: number
  readonly latentScale: number
  /** unCLIP: width of the embedding that it paints after; 0 for the others. */
  readonly embeddingWidth: number
  readonly sampler: string
  readonly schedule: NoiseScheduleFacts
}

export interface PaintOptions {
  readonly prompt: string
  readonly negative: string
  readonly steps: number
  readonly guidance: number
  readonly seed: number
  readonly sampler?: string | undefined
  /** Dots; default: what the model was trained on, or the size of `picture`. */
  readonly width?: number | undefined
  readonly height?: number | undefined
  /** What to start from, and how much of it may change, 0 to 1. */
  readonly picture?: Picture | undefined
  readonly strength: number
  /** unCLIP: an image embedding, and how much noise is added to it, 0 to 999. */
  readonly embedding?: Float32Array | undefined
  readonly noiseLevel: number
  readonly signal?: AbortSignal | undefined
  readonly onStage?: (name: 'text' | 'encode' | 'denoise' | 'decode', ms: number) => void
}

export type PictureGraph = 'text' | 'unet' | 'encode' | 'decode' | 'augment'
type Floats = HostTensor<'float32'>

export class PictureGenerator extends Handle {
  readonly tokenizer: Tokenizer
  readonly facts: PictureFacts
  readonly #engine: Engine
  readonly #open: (graph: PictureGraph) => Promise<Session>
  readonly #sessions = new Map<PictureGraph, Session>()
  readonly #schedule: NoiseSchedule

  /** @param open opens a graph of the module; asked once for each, when it is first needed */
  constructor(
    engine: Engine,
    open: (graph: PictureGraph) => Promise<Session>,
    options: { tokenizer: Tokenizer; facts: PictureFacts },
  ) {
    super('picture-generator')
    this.tokenizer = options.tokenizer
    this.facts = options.facts
    this.#engine = engine
    this.#open = open
    this.#schedule = createNoiseSchedule(options.facts.schedule)
  }

  /** Opens what every picture needs. @throws M4Error `ENGINE` */
  async warm(): Promise<void> {
    for (const graph of ['text', 'unet', 'decode'] as const) await this.#session(graph)
  }

  /** Ids of a text with start and end. @throws M4Error `CONTEXT_OVERFLOW` */
  ids(text: string): number[] {
    const { contextLength: length, startId, endId, padId } = this.facts
    const { ids, dropped } = clipSequence(this.tokenizer.encode(text), { length, startId, endId, padId })
    if (dropped === 0) return ids
    throw new M4Error(
      'CONTEXT_OVERFLOW',
      `The text is ${dropped} tokens longer than the ${length - 2} that the picture generator reads.`,
      { hint: 'Shorten it.', details: { dropped, limit: length - 2 } },
    )
  }

  /**
   * Tells every step that is done; the picture at the end. Same options, same picture.
   * @throws M4Error `CONTEXT_OVERFLOW`, `INVALID_REQUEST`, `UNKNOWN_NAME`, `ABORTED`, `ENGINE`
   */
  async *paint(options: PaintOptions): AsyncGenerator<StepDone, Picture> {
    this.assertLive('paint')
    const { steps, strength, guidance, signal, picture } = options
    const prompts = [this.ids(options.negative), this.ids(options.prompt)]
    const sampler = createDiffusionSampler(options.sampler ?? this.facts.sampler, this.#schedule, {
      steps,
      ...(picture ? { strength } : {}),
    })
    const [width, height] = this.#size(options)
    const normal = normalSource(options.seed)
    const { latentChannels, dotsPerLatent } = this.facts
    const dims = [1, latentChannels, height / dotsPerLatent, width / dotsPerLatent]
    const noise = (shape: readonly number[]) => {
      const tensor = hostTensor('float32', shape)
      for (let i = 0; i < tensor.data.length; i++) tensor.data[i] = normal()
      return tensor
    }
    let latents = noise(dims)
    const [away, given] = await this.#conditions(prompts, options, noise)
    if (picture) {
      const known = await this.#timed(options, 'encode', () =>
        this.#encode(picture, noise(dims), width, height, signal),
      )
      const mixed = addNoise(this.#schedule, known.data, latents.data, sampler.steps[0]!)
      latents = hostTensor('float32', dims, Float32Array.from(mixed))
    }
    const started = performance.now()
    const denoiser = createDenoiser(this.#engine, await this.#session('unet'), signal)
    const done = yield* denoise(denoiser, { latents, sampler, given, away, guidance, signal })
    options.onStage?.('denoise', performance.now() - started)
    const planes = await this.#timed(options, 'decode', () => this.#run('decode', { latents: done }, 'picture', signal))
    return pictureFromPlanes(planes)
  }

  /** Dots, multiples of what one latent covers. */
  #size({ width, height, picture }: PaintOptions): [number, number] {
    const { latentSize, dotsPerLatent: unit } = this.facts
    const size = (name: string, asked: number | undefined, own: number | undefined) => {
      const dots = asked ?? (own === undefined ? latentSize * unit : Math.floor(own / unit) * unit)
      if (Number.isInteger(dots) && dots >= unit && dots % unit === 0 && (own === undefined || dots <= own)) return dots
      throw new M4Error(
        'INVALID_REQUEST',
        `${name}: expected a multiple of ${unit}${own === undefined ? '' : `, at most the ${own} of the picture`}, got ${asked ?? own}.`,
      )
    }
    return [size('width', width, picture?.width), size('height', height, picture?.height)]
  }

  /** Both branches: what to steer away from, what to paint. */
  async #conditions(
    prompts: readonly (readonly number[])[],
    options: PaintOptions,
    noise: (dims: readonly number[]) => Floats,
  ): Promise<[Conditions, Conditions]> {
    const { embedding, noiseLevel, signal } = options
    const { embeddingWidth, contextLength } = this.facts
    if ((embedding?.length ?? 0) !== embeddingWidth)
      throw new M4Error(
        'INVALID_REQUEST',
        `embedding: this picture generator takes ${embeddingWidth || 'no'} numbers, got ${embedding?.length ?? 'none'}.`,
        { hint: embeddingWidth ? 'Give the embedding of an image, a text or a sound.' : 'Leave it out.' },
      )
    if (!Number.isInteger(noiseLevel) || noiseLevel < 0 || noiseLevel > 999)
      throw new M4Error('INVALID_REQUEST', `noiseLevel: expected a whole number from 0 to 999, got ${noiseLevel}.`)
    return this.#timed(options, 'text', async () => {
      const ids = int64Tensor([2, contextLength], prompts.flat())
      const hidden = await this.#run('text', { ids }, 'hidden', signal)
      const half = hidden.data.length / 2
      const rows = [0, 1].map((row) =>
        hostTensor('float32', [1, ...hidden.dims.slice(1)], hidden.data.slice(row * half, (row + 1) * half)),
      )
      if (!embedding) return [{ text: rows[0]! }, { text: rows[1]! }]
      const feeds = {
        embedding: hostTensor('float32', [1, embeddingWidth], Float32Array.from(embedding)),
        noise: noise([1, embeddingWidth]),
        level: int64Tensor([1], [noiseLevel]),
      }
      const given = await this.#run('augment', feeds, 'class', signal)
      return [
        { text: rows[0]!, class: hostTensor('float32', given.dims) },
        { text: rows[1]!, class: given },
      ]
    })
  }

  async #encode(
    picture: Picture,
    noise: Floats,
    width: number,
    height: number,
    signal: AbortSignal | undefined,
  ): Promise<Floats> {
    const moments = await this.#run('encode', { picture: planesFromPicture(picture, width, height) }, 'moments', signal)
    return latentsOfMoments(moments, noise, this.facts.latentScale)
  }

  async #timed<T>({ onStage }: PaintOptions, name: 'text' | 'encode' | 'decode', run: () => Promise<T>): Promise<T> {
    const started = performance.now()
    const result = await run()
    onStage?.(name, performance.now() - started)
    return result
  }

  /** One run, its output copied. */
  async #run(
    graph: PictureGraph,
    feeds: Readonly<Record<string, HostTensor>>,
    output: string,
    signal: AbortSignal | undefined,
  ): Promise<Floats> {
    const session = await this.#session(graph)
    const open: Tensor[] = []
    try {
      const inputs: Record<string, Tensor> = {}
      for (const [name, { dtype, dims, data }] of Object.entries(feeds)) {
        inputs[name] = this.#engine.tensor(dtype, dims, data)
        open.push(inputs[name])
      }
      const results = await session.run(inputs, [output], { signal })
      open.push(...Object.values(results))
      const { dims, data } = results[output]!
      return hostTensor('float32', dims, (data as Floats['data']).slice())
    } finally {
      for (const tensor of open) tensor.dispose()
    }
  }

  async #session(graph: PictureGraph): Promise<Session> {
    const session = this.#sessions.get(graph) ?? (await this.#open(graph))
    this.#sessions.set(graph, session)
    return session
  }

  protected override release(): void {
    for (const session of this.#sessions.values()) session.dispose()
  }
}
