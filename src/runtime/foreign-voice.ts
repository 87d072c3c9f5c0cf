/**
 * A foreign graph as a voice: ids in, samples out, and where it has them a style vector and a speed. Kokoro-82M is one: `input_ids`
 * [1, T] with id 0 at both ends, `style` [1, 256] — the row of the voice's table that stands for the number of symbols — and
 * `speed` [1]. The recipe names the ports; voices are files `voice.NAME` of the module. A voice that reads phonemes has the file
 * `pronunciations`, a dictionary in the format of CMUdict: sentences are English then. Words that it lacks are read by the graph
 * `letters` (letter-reader.ts), or by rules where the module has none.
 */

import { Handle } from '../core/disposal.js'
import { M4Error, unknownName } from '../core/errors.js'
import { int64Tensor, viewAs } from '../core/tensor.js'
import type { Engine, Session, Tensor } from '../engine/types.js'
import type { Image } from '../firmware/image.js'
import type { ModuleEntry, Role } from '../firmware/manifest.js'
import { guessedWords, type Phonemise, phonemiser, type Tokenizer } from '../tokenizers/index.js'
import { type LetterReader, openLetterReader } from './letter-reader.js'
import { configNumber, configText, optionalNumber, optionalText, readTokenizer } from './module-config.js'
import { cutLong } from './sentences.js'
import { joinSamples, LONGEST_SENTENCE_S, type Manner, tooLong, type Utterance, type Voice } from './voice.js'

/** What a recipe says under `config` of a foreign voice, and the manifest repeats. */
export interface ForeignVoiceFacts {
  readonly sampleRateHz: number
  /** Names of ports; int64 [1, T] and float32 of any shape whose elements are the samples. */
  readonly idsInput: string
  readonly waveformOutput: string
  /** float32 [1]. */
  readonly speedInput: string | undefined
  /** float32 [1, width]. */
  readonly styleInput: string | undefined
  readonly styleWidth: number | undefined
  /** Put in front of and behind the ids. */
  readonly boundaryId: number | undefined
  /** Most ids of one run, without the boundaries: what is longer is said in pieces. */
  readonly maxSymbols: number | undefined
}

/** Rows of float32 [rows, width], by the name of the voice. */
export type VoiceTables = ReadonlyMap<string, Float32Array>

const VOICE_FILE = /^voice\.(.+)$/
const PRONUNCIATIONS = 'pronunciations'

export class ForeignVoice extends Handle implements Voice {
  readonly tokenizer: Tokenizer
  readonly facts: ForeignVoiceFacts
  readonly #engine: Engine
  readonly #session: Session
  readonly #tables: VoiceTables
  readonly #phonemise: Phonemise | undefined
  readonly #letters: LetterReader | undefined

  constructor(
    engine: Engine,
    session: Session,
    options: {
      tokenizer: Tokenizer
      facts: ForeignVoiceFacts
      tables: VoiceTables
      /** For a voice that reads phonemes. */
      phonemise?: Phonemise | undefined
      /** For words that `phonemise` does not know. */
      letters?: LetterReader | undefined
    },
  ) {
    super('voice')
    this.tokenizer = options.tokenizer
    this.facts = options.facts
    this.#engine = engine
    this.#session = session
    this.#tables = options.tables
    this.#phonemise = options.phonemise
    this.#letters = options.letters
  }

  get sampleRateHz(): number {
    return this.facts.sampleRateHz
  }

  hasSound(character: string): boolean {
    return this.tokenizer.encode(this.#phonemise ? this.#phonemise(character) : character).length > 0
  }

  check(voice: string | number | undefined): void {
    if (this.facts.styleInput !== undefined) this.#table(voice)
    else if (voice !== undefined)
      throw new M4Error('INVALID_REQUEST', `voice ${JSON.stringify(voice)}: this model has one voice.`, {
        hint: 'Leave the voice out.',
      })
  }

  async say(sentence: string, manner: Manner): Promise<Utterance | undefined> {
    this.assertLive('say')
    const from = performance.now()
    const written = await this.#written(sentence, manner.signal)
    manner.onStage('encode', performance.now() - from)
    const pieces: Utterance[] = []
    for (const piece of cutLong(written, this.facts.maxSymbols ?? Number.POSITIVE_INFINITY)) {
      const said = await this.#sayPiece(piece, manner)
      if (said) pieces.push(said)
    }
    if (pieces.length < 2) return pieces[0]
    return {
      samples: joinSamples(pieces.map(({ samples }) => samples)),
      symbols: pieces.reduce((sum, { symbols }) => sum + symbols, 0),
    }
  }

  /** What the tokenizer reads: the sentence itself, or its phonemes. */
  async #written(sentence: string, signal: AbortSignal): Promise<string> {
    const phonemise = this.#phonemise
    if (!phonemise) return sentence
    const letters = this.#letters
    if (!letters) return phonemise(sentence)
    const guessed = new Map<string, string>()
    for (const word of guessedWords(phonemise, sentence)) guessed.set(word, await letters.read(word, signal))
    return phonemise(sentence, (word) => guessed.get(word)!)
  }

  async #sayPiece(piece: string, { voice, speed, signal, onStage }: Manner): Promise<Utterance | undefined> {
    const { idsInput, waveformOutput, speedInput, styleInput, styleWidth, boundaryId, sampleRateHz } = this.facts
    const symbols = this.tokenizer.encode(piece)
    if (symbols.length === 0) return undefined
    const ids = boundaryId === undefined ? symbols : [boundaryId, ...symbols, boundaryId]
    const feeds: Record<string, Tensor> = {}
    const from = performance.now()
    try {
      feeds[idsInput] = this.#engine.tensor('int64', [1, ids.length], int64Tensor([1, ids.length], ids).data)
      if (speedInput !== undefined) feeds[speedInput] = this.#engine.tensor('float32', [1], Float32Array.of(speed))
      if (styleInput !== undefined)
        feeds[styleInput] = this.#engine.tensor('float32', [1, styleWidth!], this.#style(voice, symbols.length))
      const results = await this.#session.run(feeds, [waveformOutput], { signal })
      using waveform = results[waveformOutput]!
      const samples = (waveform.data as Float32Array).slice()
      if (samples.length > LONGEST_SENTENCE_S * sampleRateHz) throw tooLong(piece, samples.length / sampleRateHz)
      return { samples, symbols: symbols.length }
    } finally {
      for (const tensor of Object.values(feeds)) tensor.dispose()
      onStage('synthesise', performance.now() - from)
    }
  }

  #table(voice: string | number | undefined): Float32Array {
    const names = [...this.#tables.keys()]
    const name = String(voice ?? names[0])
    const table = this.#tables.get(name)
    if (!table) throw unknownName('voice', name, names)
    return table
  }

  /** The row of the number of symbols; the last one for all that are longer. */
  #style(voice: string | number | undefined, symbols: number): Float32Array<ArrayBuffer> {
    const width = this.facts.styleWidth!
    const table = this.#table(voice)
    const row = Math.min(symbols, table.length / width - 1)
    return table.slice(row * width, (row + 1) * width) as Float32Array<ArrayBuffer>
  }

  protected override release(): void {
    this.#session.dispose()
    this.#letters?.dispose()
  }
}

/** @throws M4Error `IMAGE_INVALID`, `ENGINE` */
export async function openForeignVoice(
  image: Image,
  role: Role,
  entry: ModuleEntry,
  engine: Engine,
): Promise<ForeignVoice> {
  const facts: ForeignVoiceFacts = {
    sampleRateHz: configNumber(entry, 'sampleRateHz'),
    idsInput: configText(entry, 'idsInput'),
    waveformOutput: configText(entry, 'waveformOutput'),
    speedInput: optionalText(entry, 'speedInput'),
    styleInput: optionalText(entry, 'styleInput'),
    styleWidth: optionalText(entry, 'styleInput') === undefined ? undefined : configNumber(entry, 'styleWidth'),
    boundaryId: optionalNumber(entry, 'boundaryId'),
    maxSymbols: optionalNumber(entry, 'maxSymbols'),
  }
  const tokenizer = await readTokenizer(image, role)
  const tables = await readVoices(image, role, entry, facts)
  // Latin-1: older CMUdict has a line in a broken code page, which the reader passes over.
  const phonemise = Object.hasOwn(entry.files, PRONUNCIATIONS)
    ? phonemiser(new TextDecoder('latin1').decode(await image.readFile(role, PRONUNCIATIONS)))
    : undefined
  const letters = await openLetterReader(image, role, entry, engine)
  try {
    const session = await engine.createSession({ path: image.graphPath(role, 'run') })
    return new ForeignVoice(engine, session, { tokenizer, facts, tables, phonemise, letters })
  } catch (error) {
    letters?.dispose()
    throw error
  }
}

async function readVoices(
  image: Image,
  role: Role,
  { files }: ModuleEntry,
  { styleInput, styleWidth }: ForeignVoiceFacts,
): Promise<VoiceTables> {
  const tables = new Map<string, Float32Array>()
  if (styleInput === undefined) return tables
  for (const file of Object.keys(files)) {
    const name = VOICE_FILE.exec(file)?.[1]
    if (name === undefined) continue
    const bytes = await image.readFile(role, file)
    if (bytes.length === 0 || bytes.length % (4 * styleWidth!) !== 0)
      throw new M4Error('IMAGE_INVALID', `Voice ${name}: ${bytes.length} bytes are no rows of ${styleWidth} floats.`, {
        hint: 'Build the image again from the voice file of this model.',
      })
    tables.set(name, viewAs('float32', bytes))
  }
  if (tables.size) return tables
  throw new M4Error('IMAGE_INVALID', `Module ${role} takes a style, but the image has no file voice.NAME for it.`, {
    hint: 'Name at least one voice under `files` of the recipe.',
  })
}
