/**
 * fairseq's TTS Transformer as a voice: encode, then frames step by step until the model says stop, then postnet and vocoder
 * (graphs: models/tts-transformer/graphs.ts, vocoder.ts).
 *
 * The reference drops half of the prenet's outputs when speaking, too, and says every sentence differently each time. Here the seed
 * decides, and `variation` scales what dropout does to each output: 1 is the reference, 0 leaves dropout out.
 *
 * @paper arXiv:1809.08895 · @reference facebookresearch/fairseq@02a4079:fairseq/speech_generator.py
 */

import { Handle } from '../core/disposal.js'
import type { DataOf } from '../core/dtypes.js'
import { M4Error, throwIfAborted } from '../core/errors.js'
import { int64Tensor } from '../core/tensor.js'
import type { Binding, Engine, Session, Tensor } from '../engine/types.js'
import type { Image } from '../firmware/image.js'
import type { ModuleEntry, Role } from '../firmware/manifest.js'
import type { Tokenizer } from '../tokenizers/index.js'
import { cacheShape, createKvCache, type KvCache } from './kv-cache.js'
import { configNumber, readText, readTokenizer } from './module-config.js'
import { joinSamples, LONGEST_SENTENCE_S, type Manner, type Utterance, type Voice } from './voice.js'

/** `vocode` is HiFi-GAN, which the recipe names under `graphs`. */
const GRAPHS = ['encode', 'decode', 'postnet', 'vocode'] as const
/** Symbols as fairseq's `dict.txt` or `vocab.txt` has them, where the module carries one; else it has a tokenizer. */
const DICTIONARY = 'dictionary'

export type TtsTransformerSessions = Readonly<Record<(typeof GRAPHS)[number], Session>>

export interface TtsTransformerFacts {
  /** Behind the symbols of every sentence. */
  readonly endId: number
  readonly melBands: number
  readonly framesPerStep: number
  readonly prenetLayers: number
  readonly prenetWidth: number
  readonly prenetDropout: number
  readonly speakers: number
  /** Most ids of one sentence, the end included. */
  readonly maxSymbols: number
  readonly maxSteps: number
  readonly stopProbability: number
  readonly sampleRateHz: number
  readonly hopSamples: number
}

export class TtsTransformerVoice extends Handle implements Voice {
  readonly tokenizer: Tokenizer
  readonly facts: TtsTransformerFacts
  readonly #engine: Engine
  readonly #sessions: TtsTransformerSessions
  readonly #binding: Binding
  readonly #kv: KvCache
  readonly #step: StepTensors

  constructor(
    engine: Engine,
    sessions: TtsTransformerSessions,
    options: { tokenizer: Tokenizer; facts: TtsTransformerFacts },
  ) {
    super('voice')
    this.tokenizer = options.tokenizer
    this.facts = options.facts
    this.#engine = engine
    this.#sessions = sessions
    this.#binding = sessions.decode.bind()
    this.#kv = createKvCache(engine, this.#binding, cacheShape(sessions.decode.inputs), options.facts.maxSteps)
    this.#step = stepTensors(engine, options.facts)
    const { features, stop, ...inputs } = this.#step
    for (const [name, tensor] of Object.entries(inputs)) this.#binding.bindInput(name, tensor)
    for (const [name, tensor] of Object.entries({ features, stop })) this.#binding.bindOutput(name, tensor)
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
    if (manner.speed !== 1)
      throw new M4Error('INVALID_REQUEST', `speed ${manner.speed}: this voice decides itself how fast it speaks.`, {
        hint: 'Leave the speed out.',
      })
    const symbols = this.#symbols(sentence)
    if (symbols.length === 0) return undefined
    let from = performance.now()
    const cross = await this.#encode([...symbols, this.facts.endId], speaker, manner.signal)
    manner.onStage('encode', performance.now() - from)
    from = performance.now()
    try {
      for (const [name, tensor] of Object.entries(cross)) this.#binding.bindInput(name, tensor)
      const samples = await this.#vocode(await this.#steps(sentence, manner), manner.signal)
      return { samples, symbols: symbols.length }
    } finally {
      for (const tensor of Object.values(cross)) tensor.dispose()
      manner.onStage('synthesise', performance.now() - from)
    }
  }

  #symbols(sentence: string): number[] {
    const { maxSymbols } = this.facts
    const ids = this.tokenizer.encode(sentence)
    const { unknownId } = this.tokenizer
    if (unknownId !== undefined && ids.includes(unknownId))
      throw new M4Error('INVALID_REQUEST', `"${sentence.slice(0, 40)}" has symbols that this voice does not know.`, {
        hint: 'It reads phonemes, a space between them, as its dictionary writes them: HH AH0 L OW1.',
        details: { unknown: sentence.split(/\s+/).filter((symbol) => this.tokenizer.idOf(symbol) === undefined) },
      })
    if (ids.length < maxSymbols) return ids
    throw new M4Error(
      'CONTEXT_OVERFLOW',
      `The sentence "${sentence.slice(0, 40)}…" has ${ids.length} symbols, the voice reads ${maxSymbols - 1}.`,
      { hint: 'Put full stops into the text.', details: { symbols: ids.length, maxSymbols: maxSymbols - 1 } },
    )
  }

  /** What the decoder's layers attend to. */
  async #encode(
    ids: readonly number[],
    speaker: number | undefined,
    signal: AbortSignal,
  ): Promise<Record<string, Tensor>> {
    const integers = (dims: readonly number[], values: readonly number[]) =>
      this.#engine.tensor('int64', dims, int64Tensor(dims, values).data)
    const feeds: Record<string, Tensor> = { ids: integers([1, ids.length], ids) }
    try {
      if (speaker !== undefined) feeds.speaker = integers([1], [speaker])
      const { encode } = this.#sessions
      const wanted = encode.outputs.map(({ name }) => name).filter((name) => name !== 'memory')
      return await encode.run(feeds, wanted, { signal })
    } finally {
      for (const tensor of Object.values(feeds)) tensor.dispose()
    }
  }

  /** Frames of all steps, the one that says stop included. [P·n·M] */
  async #steps(sentence: string, { normal, variation, signal }: Manner): Promise<DataOf<'float32'>> {
    const { framesPerStep, hopSamples, sampleRateHz, maxSteps, stopProbability, prenetDropout } = this.facts
    const stepS = (framesPerStep * hopSamples) / sampleRateHz
    const limit = Math.min(maxSteps, Math.floor(LONGEST_SENTENCE_S / stepS))
    const { frames, position, keep, seqlens_k, total_sequence_length, features, stop } = this.#step
    const [input, output] = [frames.data as Float32Array, features.data as Float32Array]
    const made: Float32Array[] = []
    input.fill(0)
    for (let step = 0; step < limit; step++) {
      throwIfAborted(signal)
      this.#kv.reserve(step + 1, step)
      ;(position.data as BigInt64Array)[0] = BigInt(step)
      ;(seqlens_k.data as Int32Array)[0] = step
      ;(total_sequence_length.data as Int32Array)[0] = step + 1
      drawDropout(keep.data as Float32Array, prenetDropout, variation, normal)
      await this.#binding.run({ signal })
      made.push(output.slice())
      if ((stop.data as Float32Array)[0]! > stopProbability) return joinSamples(made)
      input.set(output)
    }
    throw new M4Error(
      'CONTEXT_OVERFLOW',
      `The voice found no end of the sentence "${sentence.slice(0, 40)}…" in ${(limit * stepS).toFixed(1)} s.`,
      { hint: 'Try another seed, or put full stops into the text.', details: { steps: limit } },
    )
  }

  async #vocode(features: DataOf<'float32'>, signal: AbortSignal): Promise<Float32Array> {
    const { melBands, framesPerStep, hopSamples } = this.facts
    const width = melBands * framesPerStep
    const steps = features.length / width
    using given = this.#engine.tensor('float32', [1, steps, width], features)
    const { mel } = await this.#sessions.postnet.run({ features: given }, ['mel'], { signal })
    using spectrum = mel!
    const { waveform } = await this.#sessions.vocode.run({ mel: spectrum }, ['waveform'], { signal })
    using made = waveform!
    const samples = (made.data as Float32Array).slice()
    const hop = samples.length / (steps * framesPerStep)
    if (Math.round(hop) === hopSamples) return samples
    throw new M4Error(
      'IMAGE_INVALID',
      `The vocoder makes ${hop.toFixed(1)} samples of a frame, the voice has ${hopSamples}.`,
      { hint: 'Build the image with the vocoder of this voice.', details: { hop, hopSamples } },
    )
  }

  #speaker(voice: string | number | undefined): number | undefined {
    const { speakers } = this.facts
    const index = Number(voice ?? 0)
    if (Number.isInteger(index) && index >= 0 && index < speakers && voice !== '')
      return speakers === 1 ? undefined : index
    const expected = speakers === 1 ? 'this model has one voice' : `expected a number from 0 to ${speakers - 1}`
    throw new M4Error('INVALID_REQUEST', `voice ${JSON.stringify(voice)}: ${expected}.`, {
      hint: speakers === 1 ? 'Leave the voice out.' : 'Choose one of them.',
      details: { voice },
    })
  }

  protected override release(): void {
    this.#binding.dispose()
    this.#kv.dispose()
    for (const tensor of Object.values(this.#step)) tensor.dispose()
    for (const session of Object.values(this.#sessions)) session.dispose()
  }
}

/**
 * Factors on the prenet's outputs: 0 with the probability of dropout, else 1 / (1 - it), of mean 1; `variation` scales their distance
 * from 1. Of two standard normal numbers, exp(-(a² + b²) / 2) is uniform.
 */
function drawDropout(keep: Float32Array, dropout: number, variation: number, normal: () => number): void {
  if (dropout === 0 || variation === 0) {
    keep.fill(1)
    return
  }
  const kept = 1 / (1 - dropout)
  for (let i = 0; i < keep.length; i++) {
    const uniform = Math.exp(-(normal() ** 2 + normal() ** 2) / 2)
    keep[i] = 1 + variation * ((uniform < dropout ? 0 : kept) - 1)
  }
}

interface StepTensors {
  readonly frames: Tensor // [1, 1, n·M]
  readonly position: Tensor // [1]
  readonly keep: Tensor // [L, W]
  readonly seqlens_k: Tensor // [1]
  readonly total_sequence_length: Tensor // []
  readonly features: Tensor // [1, 1, n·M]
  readonly stop: Tensor // [1, 1, 1]
}

function stepTensors(engine: Engine, facts: TtsTransformerFacts): StepTensors {
  const width = facts.melBands * facts.framesPerStep
  return {
    frames: engine.tensor('float32', [1, 1, width]),
    position: engine.tensor('int64', [1]),
    keep: engine.tensor('float32', [facts.prenetLayers, facts.prenetWidth]),
    seqlens_k: engine.tensor('int32', [1]),
    total_sequence_length: engine.tensor('int32', []),
    features: engine.tensor('float32', [1, 1, width]),
    stop: engine.tensor('float32', [1, 1, 1]),
  }
}

/** In front of the symbols of every fairseq dictionary. */
const SPECIALS = ['<s>', '<pad>', '</s>', '<unk>'] as const
const UNKNOWN_ID = SPECIALS.indexOf('<unk>')

/**
 * fairseq's `dict.txt`: a symbol, a space and a count a line. A text is its symbols with spaces between, as fairseq's own
 * `encode_line` reads it; graphemes to phonemes is not part of it. What the dictionary lacks becomes `<unk>`.
 * @throws M4Error `FORMAT_INVALID` naming the line
 */
export function dictionaryTokenizer(text: string): Tokenizer {
  const ids = new Map<string, number>(SPECIALS.map((symbol, id) => [symbol, id]))
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue
    const symbol = /^(\S+) \d+\s*$/.exec(line)?.[1]
    if (symbol === undefined || ids.has(symbol))
      throw new M4Error(
        'FORMAT_INVALID',
        `Dictionary, line ${i + 1}: expected a new symbol and a count, got "${line}".`,
        {
          hint: 'Give the dict.txt or vocab.txt of this checkpoint.',
        },
      )
    ids.set(symbol, ids.size)
  }
  const pieces = [...ids.keys()]
  const pieceOf = (id: number) => {
    const piece = pieces[id]
    if (piece !== undefined) return piece
    throw new M4Error('UNKNOWN_NAME', `Token id ${id} is not in the dictionary of ${pieces.length} symbols.`)
  }
  return {
    kind: 'characters',
    vocabularySize: pieces.length,
    specialIds: new Map(SPECIALS.map((symbol, id) => [symbol, id])),
    bosId: SPECIALS.indexOf('<s>'),
    eosId: SPECIALS.indexOf('</s>'),
    unknownId: UNKNOWN_ID,
    padId: SPECIALS.indexOf('<pad>'),
    encode(sentence, { addBos, addEos, allowSpecial } = {}) {
      const known = (symbol: string) => {
        const id = ids.get(symbol) ?? UNKNOWN_ID
        return id < SPECIALS.length && !allowSpecial ? UNKNOWN_ID : id
      }
      const symbols = sentence.split(/\s+/).filter((symbol) => symbol !== '')
      return [
        ...(addBos ? [SPECIALS.indexOf('<s>')] : []),
        ...symbols.map(known),
        ...(addEos ? [SPECIALS.indexOf('</s>')] : []),
      ]
    },
    decode: (given) => given.map(pieceOf).join(' '),
    decodeStream() {
      let first = true
      return {
        push(id) {
          const piece = first ? pieceOf(id) : ` ${pieceOf(id)}`
          first = false
          return piece
        },
        end: () => '',
      }
    },
    idOf: (piece) => ids.get(piece),
    pieceOf: (id) => pieces[id],
  }
}

/** @throws M4Error `IMAGE_INVALID`, `FORMAT_INVALID`, `ENGINE` */
export async function openTtsTransformerVoice(
  image: Image,
  role: Role,
  entry: ModuleEntry,
  engine: Engine,
): Promise<TtsTransformerVoice> {
  const tokenizer = Object.hasOwn(entry.files, DICTIONARY)
    ? dictionaryTokenizer(await readText(image, role, DICTIONARY))
    : await readTokenizer(image, role)
  const vocabulary = configNumber(entry, 'vocabulary')
  if (tokenizer.vocabularySize > vocabulary)
    throw new M4Error(
      'IMAGE_INVALID',
      `Module ${role}: its vocabulary has ${tokenizer.vocabularySize} ids, the model knows ${vocabulary}.`,
      { hint: 'Build the image with the vocabulary of this checkpoint.' },
    )
  const missing = GRAPHS.filter((graph) => !Object.hasOwn(entry.graphs, graph))
  if (missing.length)
    throw new M4Error('IMAGE_INVALID', `Module ${role} has no graph ${missing.join(', ')}.`, {
      hint: 'The recipe names the vocoder under `graphs`: { vocode: { architecture: "hifi-gan", … } }.',
      details: { missing },
    })
  const number = (field: keyof TtsTransformerFacts) => configNumber(entry, field)
  const facts: TtsTransformerFacts = {
    endId: number('endId'),
    melBands: number('melBands'),
    framesPerStep: number('framesPerStep'),
    prenetLayers: number('prenetLayers'),
    prenetWidth: number('prenetWidth'),
    prenetDropout: number('prenetDropout'),
    speakers: number('speakers'),
    maxSymbols: number('maxSymbols'),
    maxSteps: number('maxSteps'),
    stopProbability: number('stopProbability'),
    sampleRateHz: number('sampleRateHz'),
    hopSamples: number('hopSamples'),
  }
  const opened: Partial<Record<(typeof GRAPHS)[number], Session>> = {}
  try {
    for (const graph of GRAPHS) opened[graph] = await engine.createSession({ path: image.graphPath(role, graph) })
    const sessions = opened as TtsTransformerSessions
    const bands = sessions.vocode.inputs.find(({ name }) => name === 'mel')?.dims[1]
    if (bands !== facts.melBands)
      throw new M4Error('IMAGE_INVALID', `The vocoder reads ${bands} mel bands, the voice makes ${facts.melBands}.`, {
        hint: 'Build the image with the vocoder of this voice.',
      })
    return new TtsTransformerVoice(engine, sessions, { tokenizer, facts })
  } catch (error) {
    for (const session of Object.values(opened)) session.dispose()
    throw error
  }
}
