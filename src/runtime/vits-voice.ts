/** VITS as a voice: encode, draw the noise that the durations ask for, synthesise (graphs: models/vits/graphs.ts). */

import { Handle } from '../core/disposal.js'
import type { DataOf } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'
import { int64Tensor } from '../core/tensor.js'
import type { Engine, Session, Tensor } from '../engine/types.js'
import type { Image } from '../firmware/image.js'
import type { ModuleEntry, Role } from '../firmware/manifest.js'
import type { Tokenizer } from '../tokenizers/index.js'
import { configNumber, optionalNumber, readTokenizer } from './module-config.js'
import { LONGEST_SENTENCE_S, type Manner, tooLong, type Utterance, type Voice } from './voice.js'

export interface VitsFacts {
  readonly latentWidth: number
  readonly hopSamples: number
  readonly sampleRateHz: number
  readonly noiseScale: number
  /** Undefined where durations are not drawn. */
  readonly durationNoiseScale: number | undefined
  readonly speakingRate: number
  readonly speakers: number
}

interface Sessions {
  readonly encode: Session
  readonly synthesise: Session
}

export class VitsVoice extends Handle implements Voice {
  readonly tokenizer: Tokenizer
  readonly facts: VitsFacts
  readonly #engine: Engine
  readonly #sessions: Sessions

  constructor(engine: Engine, sessions: Sessions, options: { tokenizer: Tokenizer; facts: VitsFacts }) {
    super('voice')
    this.tokenizer = options.tokenizer
    this.facts = options.facts
    this.#engine = engine
    this.#sessions = sessions
  }

  get sampleRateHz(): number {
    return this.facts.sampleRateHz
  }

  hasSound(character: string): boolean {
    return this.tokenizer.encode(character).length > 0
  }

  check(voice: string | number | undefined): void {
    this.#speaker(voice)
  }

  async say(sentence: string, manner: Manner): Promise<Utterance | undefined> {
    this.assertLive('say')
    const speaker = this.#speaker(manner.voice)
    const ids = this.tokenizer.encode(sentence)
    if (ids.length === 0) return undefined
    const owned: Tensor[] = []
    const keep = (tensor: Tensor) => {
      owned.push(tensor)
      return tensor
    }
    try {
      const who = speaker === undefined ? {} : { speaker: keep(this.#integers([1], [speaker])) }
      let from = performance.now()
      const encoded = await this.#encode(ids, manner, who, keep)
      manner.onStage('encode', performance.now() - from)
      from = performance.now()
      const samples = await this.#synthesise(sentence, encoded, manner, who, keep)
      manner.onStage('synthesise', performance.now() - from)
      return { samples, symbols: ids.length }
    } finally {
      for (const tensor of owned) tensor.dispose()
    }
  }

  async #encode(
    ids: readonly number[],
    { speed, variation, normal, signal }: Manner,
    who: Readonly<Record<string, Tensor>>,
    keep: (tensor: Tensor) => Tensor,
  ): Promise<Record<string, Tensor>> {
    const { durationNoiseScale, speakingRate } = this.facts
    const lengthScale = this.#engine.tensor('float32', [], Float32Array.of(1 / (speakingRate * speed)))
    const noise =
      durationNoiseScale === undefined
        ? {}
        : { noise: keep(this.#noise([1, 2, ids.length], normal, durationNoiseScale * variation)) }
    const feeds = { ids: keep(this.#integers([1, ids.length], ids)), length_scale: keep(lengthScale), ...noise, ...who }
    const encoded = await this.#sessions.encode.run(feeds, ['prior_mean', 'prior_log_scale', 'durations'], { signal })
    Object.values(encoded).forEach(keep)
    return encoded
  }

  async #synthesise(
    sentence: string,
    encoded: Readonly<Record<string, Tensor>>,
    { normal, variation, signal }: Manner,
    who: Readonly<Record<string, Tensor>>,
    keep: (tensor: Tensor) => Tensor,
  ): Promise<Float32Array> {
    const { latentWidth, hopSamples, sampleRateHz, noiseScale } = this.facts
    let frames = 0
    for (const duration of encoded.durations!.data as BigInt64Array) frames += Number(duration)
    // Beyond the largest integer there are negative ones.
    const seconds = frames < 0 ? Number.POSITIVE_INFINITY : (frames * hopSamples) / sampleRateHz
    if (!(seconds <= LONGEST_SENTENCE_S)) throw tooLong(sentence, seconds)
    // The reference makes one frame of a sentence without length.
    const noise = keep(this.#noise([1, latentWidth, Math.max(frames, 1)], normal, noiseScale * variation))
    const { waveform } = await this.#sessions.synthesise.run({ ...encoded, noise, ...who }, ['waveform'], { signal })
    return (keep(waveform!).data as Float32Array).slice()
  }

  #speaker(voice: string | number | undefined): number | undefined {
    const { speakers } = this.facts
    if (speakers === 1) {
      if (voice === undefined || Number(voice) === 0) return undefined
      throw noSuchVoice(voice, 'this model has one voice', 'Leave the voice out.')
    }
    const index = Number(voice ?? 0)
    if (Number.isInteger(index) && index >= 0 && index < speakers && voice !== '') return index
    throw noSuchVoice(voice!, `expected a number from 0 to ${speakers - 1}`, 'Choose one of them.')
  }

  #integers(dims: readonly number[], values: readonly number[]): Tensor {
    return this.#engine.tensor('int64', dims, int64Tensor(dims, values).data)
  }

  #noise(dims: readonly number[], normal: () => number, deviation: number): Tensor {
    const tensor = this.#engine.tensor('float32', dims)
    const data = tensor.data as DataOf<'float32'>
    for (let i = 0; i < data.length; i++) data[i] = normal() * deviation
    return tensor
  }

  protected override release(): void {
    this.#sessions.encode.dispose()
    this.#sessions.synthesise.dispose()
  }
}

const noSuchVoice = (voice: string | number, expected: string, hint: string) =>
  new M4Error('INVALID_REQUEST', `voice ${JSON.stringify(voice)}: ${expected}.`, { hint, details: { voice } })

/** @throws M4Error `IMAGE_INVALID`, `ENGINE` */
export async function openVitsVoice(image: Image, role: Role, entry: ModuleEntry, engine: Engine): Promise<VitsVoice> {
  const tokenizer = await readTokenizer(image, role)
  const vocabulary = configNumber(entry, 'vocabulary')
  if (tokenizer.vocabularySize > vocabulary)
    throw new M4Error(
      'IMAGE_INVALID',
      `Module ${role}: its vocabulary has ${tokenizer.vocabularySize} ids, the model knows ${vocabulary}.`,
      { hint: 'Build the image with the vocabulary of this checkpoint.' },
    )
  const facts: VitsFacts = {
    latentWidth: configNumber(entry, 'latentWidth'),
    hopSamples: configNumber(entry, 'hopSamples'),
    sampleRateHz: configNumber(entry, 'sampleRateHz'),
    noiseScale: configNumber(entry, 'noiseScale'),
    durationNoiseScale: optionalNumber(entry, 'durationNoiseScale'),
    speakingRate: configNumber(entry, 'speakingRate'),
    speakers: configNumber(entry, 'speakers'),
  }
  const encode = await engine.createSession({ path: image.graphPath(role, 'encode') })
  try {
    const synthesise = await engine.createSession({ path: image.graphPath(role, 'synthesise') })
    return new VitsVoice(engine, { encode, synthesise }, { tokenizer, facts })
  } catch (error) {
    encode.dispose()
    throw error
  }
}
