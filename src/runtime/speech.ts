/**
 * Speech to text with Whisper (arXiv:2212.04356): log-mel → encode → cross once per window, then greedy decoding with OpenAI's
 * suppress lists and without timestamps. Windows are independent: no text of one is shown to the next.
 *
 * The encoder takes clips as short as they are, but its decoder loops when it sees less than about 10 s, so a clip is padded
 * with silence to max(10 s, clip + 2 s), at most 30 s: 6 times less work at the same word error rate (reference/lite.md §3).
 */

import { Handle } from '../core/disposal.js'
import type { DataOf } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'
import { int64Tensor } from '../core/tensor.js'
import type { Binding, Engine, Session, Tensor } from '../engine/types.js'
import type { Image } from '../firmware/image.js'
import type { ModuleEntry, Role } from '../firmware/manifest.js'
import { SPEECH_RATE_HZ } from '../media/index.js'
import type { Tokenizer } from '../tokenizers/index.js'
import { audioWindows, peakOf, SILENT_PEAK } from './audio-windows.js'
import { cacheShape, createKvCache, type KvCache } from './kv-cache.js'
import { argmax, logProbability } from './logits.js'
import { loopedTokens } from './loop-guard.js'
import { configNumber, configNumbers, optionalNumber, readTokenizer } from './module-config.js'
import type { Transcript, TranscriptPart } from './requests.js'

const GRAPHS = ['logMel', 'encode', 'cross', 'decode'] as const

/** Samples of one encoder position: two mel frames of 160. */
const POSITION_SAMPLES = 320
const SHORTEST_CONTEXT_S = 10
const MARGIN_S = 2
/**
 * OpenAI's thresholds: nothing was said when the model thinks so and doubts what it wrote; without the first, it is doubted only.
 *
 * @reference openai/whisper@ba3f3cd:whisper/transcribe.py `no_speech_threshold`, `logprob_threshold`
 */
const NO_SPEECH_PROBABILITY = 0.6
const DOUBTFUL_LOG_PROBABILITY = -1

export interface SpeechFacts {
  /** Encoder positions of 20 ms. */
  readonly audioContext: number
  readonly textContext: number
  readonly vocabulary: number
  readonly sotSequence: readonly number[]
  readonly eotId: number
  readonly suppress: readonly number[]
  readonly beginSuppress: readonly number[]
  /** Ids from here on are times. */
  readonly timestampBegin: number | undefined
  readonly noSpeechId: number | undefined
}

export interface TranscribeOptions {
  readonly signal?: AbortSignal | undefined
  /** Most tokens in one window. Default, and limit: what the text context holds (448 less the prompt). */
  readonly maxTokens?: number | undefined
  /** `full` pads every clip to 30 s, as the reference does. Default `short`. */
  readonly context?: 'short' | 'full'
  readonly onPart?: (part: TranscriptPart, tokens: number) => void
  readonly onStage?: (name: 'encode' | 'transcribe', ms: number) => void
}

type Sessions = Readonly<Record<(typeof GRAPHS)[number], Session>>

export class SpeechRecogniser extends Handle {
  readonly tokenizer: Tokenizer
  readonly facts: SpeechFacts
  readonly #engine: Engine
  readonly #sessions: Sessions
  readonly #binding: Binding
  readonly #kv: KvCache
  readonly #lastPosition: Tensor // [1]
  readonly #total: Tensor // []
  readonly #step: StepTensors

  constructor(engine: Engine, sessions: Sessions, options: { tokenizer: Tokenizer; facts: SpeechFacts }) {
    super('speech')
    this.tokenizer = options.tokenizer
    this.facts = options.facts
    this.#engine = engine
    this.#sessions = sessions
    this.#binding = sessions.decode.bind()
    const { textContext, vocabulary } = options.facts
    this.#kv = createKvCache(engine, this.#binding, cacheShape(sessions.decode.inputs), textContext)
    this.#kv.reserve(textContext, 0)
    this.#lastPosition = engine.tensor('int32', [1])
    this.#total = engine.tensor('int32', [])
    this.#step = stepTensors(engine, [0], 0, [0], vocabulary)
    this.#binding.bindInput('seqlens_k', this.#lastPosition)
    this.#binding.bindInput('total_sequence_length', this.#total)
  }

  /** Longest clip that one window holds, samples. */
  get windowSamples(): number {
    return this.facts.audioContext * POSITION_SAMPLES
  }

  /**
   * @param samples mono, 16 kHz; longer than 30 s is done in windows cut at quiet places (see audio-windows.ts)
   * @returns an empty text when nothing was said
   * @throws M4Error `EMPTY_INPUT`, `INVALID_REQUEST`, `ABORTED`
   */
  async transcribe(samples: Float32Array, options: TranscribeOptions = {}): Promise<Transcript> {
    this.assertLive('transcribe')
    if (samples.length === 0)
      throw new M4Error('EMPTY_INPUT', 'The sound has no samples.', { hint: 'Record it again.' })
    const parts: TranscriptPart[] = []
    const cuts = { sampleRateHz: SPEECH_RATE_HZ, maxSamples: this.windowSamples, marginS: MARGIN_S }
    for (const { from, to } of audioWindows(samples, cuts)) {
      const { ids, ...heard } = await this.#window(samples.subarray(from, to), options)
      const part: TranscriptPart = { ...heard, startS: from / SPEECH_RATE_HZ, endS: to / SPEECH_RATE_HZ }
      parts.push(part)
      options.onPart?.(part, ids.length)
    }
    const text = parts
      .map((part) => part.text)
      .filter((part) => part !== '')
      .join(' ')
    return { text, parts, durationS: samples.length / SPEECH_RATE_HZ, confident: !parts.some(isDoubtful) }
  }

  async #window(samples: Float32Array, options: TranscribeOptions) {
    if (peakOf(samples) < SILENT_PEAK)
      return { ids: [], text: '', finishReason: 'silence' as const, logProbability: 0, noSpeech: 1 }
    const started = performance.now()
    const cross = await this.#hear(this.#padded(samples, options.context ?? 'short'), options.signal)
    const heard = performance.now()
    options.onStage?.('encode', heard - started)
    try {
      for (const [name, tensor] of Object.entries(cross)) this.#binding.bindInput(name, tensor)
      const written = await this.#write(options)
      options.onStage?.('transcribe', performance.now() - heard)
      const text = written.finishReason === 'silence' ? '' : this.tokenizer.decode(written.ids).trim()
      return { ...written, text }
    } finally {
      for (const tensor of Object.values(cross)) tensor.dispose()
    }
  }

  #padded(samples: Float32Array, context: 'short' | 'full'): DataOf<'float32'> {
    const wanted = Math.max(SHORTEST_CONTEXT_S * SPEECH_RATE_HZ, samples.length + MARGIN_S * SPEECH_RATE_HZ)
    const length = context === 'full' ? this.windowSamples : Math.min(this.windowSamples, wanted)
    const padded = new Float32Array(Math.ceil(length / POSITION_SAMPLES) * POSITION_SAMPLES)
    padded.set(samples)
    return padded
  }

  /** Keys and values of the recording for every layer's cross-attention. */
  async #hear(samples: DataOf<'float32'>, signal: AbortSignal | undefined): Promise<Record<string, Tensor>> {
    const { logMel, encode, cross } = this.#sessions
    const wave = this.#engine.tensor('float32', [1, samples.length], samples)
    const made: Tensor[] = [wave]
    try {
      const { mel } = await logMel.run({ samples: wave }, ['mel'], { signal }) // [1, M, 2·P]
      made.push(mel!)
      const { features } = await encode.run({ mel: mel! }, ['features'], { signal }) // [1, P, C]
      made.push(features!)
      return await cross.run({ features: features! }, undefined, { signal })
    } finally {
      for (const tensor of made) tensor.dispose()
    }
  }

  async #write({ signal, maxTokens }: TranscribeOptions) {
    const { sotSequence, eotId, suppress, beginSuppress, textContext, timestampBegin, noSpeechId } = this.facts
    const limit = Math.min(maxTokens ?? textContext, textContext - sotSequence.length)
    const allowed = Math.min(timestampBegin ?? this.tokenizer.vocabularySize, this.tokenizer.vocabularySize)
    const { noSpeech, ...read } = await this.#readPrompt(signal, noSpeechId)
    let logits: Float32Array = read.logits
    const ids: number[] = []
    let sum = 0
    for (let position = sotSequence.length; ; position++) {
      for (const id of suppress) logits[id] = Number.NEGATIVE_INFINITY
      if (ids.length === 0) for (const id of beginSuppress) logits[id] = Number.NEGATIVE_INFINITY
      const id = argmax(logits, allowed)
      sum += logProbability(logits, 0, logits.length, id)
      const facts = { logProbability: sum / (ids.length + 1), noSpeech }
      if (id === eotId) {
        const silent = noSpeech > NO_SPEECH_PROBABILITY && facts.logProbability < DOUBTFUL_LOG_PROBABILITY
        return { ids, finishReason: silent ? ('silence' as const) : ('eos' as const), ...facts }
      }
      ids.push(id)
      const looped = loopedTokens(ids)
      if (looped > 0) return { ids: ids.slice(0, ids.length - looped), finishReason: 'loop' as const, ...facts }
      if (ids.length === limit) return { ids, finishReason: 'length' as const, ...facts }
      logits = await this.#run(this.#step, id, position, signal)
    }
  }

  /** The first run: all of the start sequence; logits of its first token tell whether anything was said. */
  async #readPrompt(signal: AbortSignal | undefined, noSpeechId: number | undefined) {
    const { sotSequence, vocabulary } = this.facts
    const last = sotSequence.length - 1
    const tensors = stepTensors(this.#engine, sotSequence, 0, [0, last], vocabulary)
    try {
      const both = await this.#run(tensors, undefined, 0, signal) // [1, 2, V]
      const noSpeech = noSpeechId === undefined ? 0 : Math.exp(logProbability(both, 0, vocabulary, noSpeechId))
      return { logits: both.slice(vocabulary), noSpeech }
    } finally {
      this.#bindTensors(this.#step)
      tensors.dispose()
    }
  }

  async #run(
    tensors: StepTensors,
    id: number | undefined,
    position: number,
    signal: AbortSignal | undefined,
  ): Promise<DataOf<'float32'>> {
    const total = position + tensors.ids.dims[1]!
    if (id !== undefined) {
      ;(tensors.ids.data as BigInt64Array)[0] = BigInt(id)
      ;(tensors.positions.data as BigInt64Array)[0] = BigInt(position)
    }
    ;(this.#lastPosition.data as Int32Array)[0] = total - 1
    ;(this.#total.data as Int32Array)[0] = total
    if (id === undefined) this.#bindTensors(tensors)
    await this.#binding.run({ signal })
    return tensors.logits.data as DataOf<'float32'>
  }

  #bindTensors({ ids, positions, wanted, logits }: StepTensors): void {
    this.#binding.bindInput('ids', ids)
    this.#binding.bindInput('positions', positions)
    this.#binding.bindInput('logit_idx', wanted)
    this.#binding.bindOutput('logits', logits)
  }

  protected override release(): void {
    this.#binding.dispose()
    this.#kv.dispose()
    this.#step.dispose()
    this.#lastPosition.dispose()
    this.#total.dispose()
    for (const session of Object.values(this.#sessions)) session.dispose()
  }
}

const isDoubtful = ({ finishReason, logProbability }: TranscriptPart) =>
  finishReason === 'loop' || (finishReason !== 'silence' && logProbability < DOUBTFUL_LOG_PROBABILITY)

interface StepTensors {
  readonly ids: Tensor // [1, T]
  readonly positions: Tensor // [T]
  readonly wanted: Tensor // [J]
  readonly logits: Tensor // [1, J, V]
  dispose(): void
}

function stepTensors(
  engine: Engine,
  ids: readonly number[],
  from: number,
  wanted: readonly number[],
  vocabulary: number,
): StepTensors {
  const int64 = (dims: readonly number[], values: readonly number[]) =>
    engine.tensor('int64', dims, int64Tensor(dims, values).data)
  const positions = ids.map((_, i) => from + i)
  const tensors = {
    ids: int64([1, ids.length], ids),
    positions: int64([ids.length], positions),
    wanted: int64([wanted.length], wanted),
    logits: engine.tensor('float32', [1, wanted.length, vocabulary]),
  }
  return {
    ...tensors,
    dispose() {
      for (const tensor of Object.values(tensors)) tensor.dispose()
    },
  }
}

/** @throws M4Error `IMAGE_INVALID`, `ENGINE` */
export async function openSpeech(
  image: Image,
  role: Role,
  entry: ModuleEntry,
  engine: Engine,
): Promise<SpeechRecogniser> {
  const tokenizer = await readTokenizer(image, role)
  const facts: SpeechFacts = {
    audioContext: configNumber(entry, 'audioContext'),
    textContext: configNumber(entry, 'textContext'),
    vocabulary: configNumber(entry, 'vocabulary'),
    sotSequence: configNumbers(entry, 'sotSequence'),
    eotId: configNumber(entry, 'eotId'),
    suppress: configNumbers(entry, 'suppress'),
    beginSuppress: configNumbers(entry, 'beginSuppress'),
    timestampBegin: optionalNumber(entry, 'timestampBegin'),
    noSpeechId: tokenizer.idOf('<|nospeech|>'),
  }
  const sessions: [string, Session][] = []
  try {
    for (const graph of GRAPHS)
      sessions.push([graph, await engine.createSession({ path: image.graphPath(role, graph) })])
    return new SpeechRecogniser(engine, Object.fromEntries(sessions) as Sessions, { tokenizer, facts })
  } catch (error) {
    for (const [, session] of sessions) session.dispose()
    throw error
  }
}
