/**
 * A foreign graph as a voice: ids in, samples out, and where it has them a style vector and a speed. Kokoro-82M is one: `input_ids`
 * [1, T] with id 0 at both ends, `style` [1, 256] — the row of the voice's table that stands for the number of symbols — and
 * `speed` [1]. The recipe names the ports; voices are files `voice.NAME` of the module. A voice that reads phonemes has the file
 * `pronunciations`, a dictionary in the format of CMUdict: sentences are English then.
 */

import { Handle } from '../core/disposal.js'
import { M4Error, unknownName } from '../core/errors.js'
import { int64Tensor, viewAs } from '../core/tensor.js'
import type { Engine, Session, Tensor } from '../engine/types.js'
import type { Image } from '../firmware/image.js'
import type { ModuleEntry, Role } from '../firmware/manifest.js'
import { phonemiser, type Tokenizer } from '../tokenizers/index.js'
import { configNumber, configText, optionalNumber, optionalText, readTokenizer } from './module-config.js'
import { LONGEST_SENTENCE_S, type Manner, tooLong, type Utterance, type Voice } from './voice.js'

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
  /** Most ids of one sentence, without the boundaries. */
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
  readonly #phonemise: (text: string) => string

  constructor(
    engine: Engine,
    session: Session,
    options: {
      tokenizer: Tokenizer
      facts: ForeignVoiceFacts
      tables: VoiceTables
      /** For a voice that reads phonemes. */
      phonemise?: ((text: string) => string) | undefined
    },
  ) {
    super('voice')
    this.tokenizer = options.tokenizer
    this.facts = options.facts
    this.#engine = engine
    this.#session = session
    this.#tables = options.tables
    this.#phonemise = options.phonemise ?? ((text) => text)
  }

  get sampleRateHz(): number {
    return this.facts.sampleRateHz
  }

  check(voice: string | number | undefined): void {
    if (this.facts.styleInput !== undefined) this.#table(voice)
    else if (voice !== undefined)
      throw new M4Error('INVALID_REQUEST', `voice ${JSON.stringify(voice)}: this model has one voice.`, {
        hint: 'Leave the voice out.',
      })
  }

  async say(sentence: string, { voice, speed, signal, onStage }: Manner): Promise<Utterance | undefined> {
    this.assertLive('say')
    const { idsInput, waveformOutput, speedInput, styleInput, styleWidth, boundaryId, maxSymbols, sampleRateHz } =
      this.facts
    const symbols = this.tokenizer.encode(this.#phonemise(sentence))
    if (symbols.length === 0) return undefined
    if (maxSymbols !== undefined && symbols.length > maxSymbols)
      throw new M4Error(
        'CONTEXT_OVERFLOW',
        `The sentence "${sentence.slice(0, 40)}…" has ${symbols.length} symbols, the voice reads ${maxSymbols}.`,
        { hint: 'Put full stops into the text.', details: { symbols: symbols.length, maxSymbols } },
      )
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
      if (samples.length > LONGEST_SENTENCE_S * sampleRateHz) throw tooLong(sentence, samples.length / sampleRateHz)
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
  const session = await engine.createSession({ path: image.graphPath(role, 'run') })
  return new ForeignVoice(engine, session, { tokenizer, facts, tables, phonemise })
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
