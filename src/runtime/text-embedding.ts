/**
 * Sentences to unit vectors, in batches of similar length: by BERT (mean pooling: models/bert.ts), or by ImageBind's encoder of
 * text, into the space of its other encoders.
 */

import { Handle } from '../core/disposal.js'
import type { DataOf } from '../core/dtypes.js'
import { M4Error, throwIfAborted } from '../core/errors.js'
import type { Engine, Session, Tensor } from '../engine/types.js'
import type { Image } from '../firmware/image.js'
import type { ModuleEntry, Role } from '../firmware/manifest.js'
import type { Tokenizer } from '../tokenizers/index.js'
import { configNumber, readTokenizer } from './module-config.js'
import { lengthOf, toUnitLength, withoutAdapter } from './tower.js'

export interface TextEmbeddingFacts {
  readonly width: number
  readonly contextLength: number
  readonly clsId: number
  readonly sepId: number
}

/** What a graph takes beside the ids, and whether its vectors come with a scale. */
export type TextGraph = 'bert' | 'imagebind'

export interface EmbedOptions {
  readonly signal?: AbortSignal | undefined
  /**
   * `mean`: a text longer than the context is read in windows that fill it, and its vector is their mean, weighted by tokens
   * and brought back to length 1. Default: such a text is an error.
   */
  readonly window?: 'mean' | undefined
}

export interface Embedded {
  /** Length 1 each, in the order of the texts. [C] */
  readonly embeddings: readonly Float32Array[]
  /** Read, marks at both ends included, padding not. */
  readonly tokens: number
  /** What the model multiplies its vectors with before a softmax; undefined for BERT. */
  readonly scale: number | undefined
}

/** Rows × padded length of one run: large enough for full speed, small enough to stop soon. */
const BATCH_TOKENS = 2048

/** One run's worth of a text. */
interface Piece {
  readonly text: number
  readonly ids: readonly number[]
}

export class TextEmbedder extends Handle {
  readonly tokenizer: Tokenizer
  readonly facts: TextEmbeddingFacts
  readonly #engine: Engine
  readonly #session: Session
  readonly #graph: TextGraph

  constructor(
    engine: Engine,
    session: Session,
    options: { tokenizer: Tokenizer; facts: TextEmbeddingFacts; graph?: TextGraph },
  ) {
    super('text-embedder')
    this.tokenizer = options.tokenizer
    this.facts = options.facts
    this.#engine = engine
    this.#session = session
    this.#graph = options.graph ?? 'bert'
  }

  /** @throws M4Error `EMPTY_INPUT` for no texts or an empty one, `CONTEXT_OVERFLOW`, `ABORTED` */
  async embed(texts: readonly string[], { signal, window }: EmbedOptions = {}): Promise<Embedded> {
    this.assertLive('embed')
    if (texts.length === 0) throw new M4Error('EMPTY_INPUT', 'There is no text to embed.')
    const pieces = texts.flatMap((text, index) => this.#pieces(text, index, window))
    const { width } = this.facts
    const sums = texts.map(() => new Float32Array(width))
    let scale: number | undefined
    for (const batch of batches(pieces)) {
      throwIfAborted(signal)
      const rows = await this.#run(batch, signal)
      if (this.#graph === 'imagebind') scale = takeScale(rows, width)
      for (const [row, { text, ids }] of batch.entries())
        for (let c = 0; c < width; c++) sums[text]![c]! += rows[row * width + c]! * ids.length
    }
    for (const sum of sums) toUnitLength(sum)
    return { embeddings: sums, tokens: pieces.reduce((count, { ids }) => count + ids.length, 0), scale }
  }

  /**
   * What the head of ImageBind's encoder gives: neither brought to length 1 nor scaled. [C]
   * @throws M4Error `EMPTY_INPUT`, `CONTEXT_OVERFLOW`, `ABORTED`
   */
  async head(text: string, signal?: AbortSignal): Promise<{ readonly head: Float32Array; readonly tokens: number }> {
    this.assertLive('head')
    const pieces = this.#pieces(text, 0, undefined)
    return { head: await this.#run(pieces, signal, 'head'), tokens: pieces[0]!.ids.length }
  }

  #pieces(text: string, index: number, window: 'mean' | undefined): Piece[] {
    const { contextLength, clsId, sepId } = this.facts
    const ids = this.tokenizer.encode(text)
    if (ids.length === 0)
      throw new M4Error('EMPTY_INPUT', `Text ${index} is empty.`, { hint: 'Leave it out.', details: { index } })
    const room = contextLength - 2
    if (ids.length > room && window === undefined)
      throw new M4Error('CONTEXT_OVERFLOW', `Text ${index} has ${ids.length} tokens, the encoder holds ${room}.`, {
        hint: "Split it, or ask for window: 'mean'.",
        details: { index, promptTokens: ids.length, contextLength },
      })
    const pieces: Piece[] = []
    for (let from = 0; from < ids.length; from += room)
      pieces.push({ text: index, ids: [clsId, ...ids.slice(from, from + room), sepId] })
    return pieces
  }

  /** [pieces, C] */
  async #run(
    batch: readonly Piece[],
    signal: AbortSignal | undefined,
    output: 'embedding' | 'head' = 'embedding',
  ): Promise<Float32Array> {
    const length = Math.max(...batch.map((piece) => piece.ids.length))
    const ids = this.#engine.tensor('int64', [batch.length, length])
    const beside = this.#beside(batch, length)
    try {
      const padId = BigInt(this.tokenizer.padId ?? 0)
      const idData = (ids.data as BigInt64Array).fill(padId)
      for (const [row, piece] of batch.entries())
        for (const [i, id] of piece.ids.entries()) {
          idData[row * length + i] = BigInt(id)
        }
      const outputs = await this.#session.run({ ids, ...beside }, [output], { signal })
      const rows = (outputs[output]!.data as Float32Array).slice()
      outputs[output]!.dispose()
      return rows
    } finally {
      ids.dispose()
      for (const tensor of Object.values(beside)) tensor.dispose()
    }
  }

  /** BERT is told what is padding; in ImageBind no token sees those behind it, and the end is found by its id. */
  #beside(batch: readonly Piece[], length: number): Record<string, Tensor> {
    if (this.#graph === 'imagebind') {
      const causal = this.#engine.tensor('float32', [batch.length], new Float32Array(batch.length).fill(1))
      const lora = Object.entries(withoutAdapter(this.#session)).map(
        ([name, { dtype, dims, data }]) => [name, this.#engine.tensor(dtype, dims, data as DataOf)] as const,
      )
      return { causal, ...Object.fromEntries(lora) }
    }
    const mask = this.#engine.tensor('int32', [batch.length, length])
    for (const [row, { ids }] of batch.entries())
      (mask.data as Int32Array).fill(1, row * length, row * length + ids.length)
    return { mask }
  }

  protected override release(): void {
    this.#session.dispose()
  }
}

/** Pieces of similar length together, so that little is padded. */
function batches(pieces: readonly Piece[]): Piece[][] {
  const sorted = [...pieces].sort((a, b) => a.ids.length - b.ids.length)
  const out: Piece[][] = []
  for (const piece of sorted) {
    const last = out.at(-1)
    if (last && (last.length + 1) * piece.ids.length <= BATCH_TOKENS) last.push(piece)
    else out.push([piece])
  }
  return out
}

/** Brings rows [N, C] to length 1, in place, and gives the length that they had: one and the same for all. */
function takeScale(rows: Float32Array, width: number): number {
  const scale = lengthOf(rows.subarray(0, width))
  for (let from = 0; from < rows.length; from += width) toUnitLength(rows.subarray(from, from + width))
  return scale
}

/** Cosine of two unit vectors. */
export function cosine(a: Float32Array, b: Float32Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
}

/** How each architecture's configuration calls the same facts. */
const OPENED = Object.freeze({
  bert: { graph: 'embed', width: 'width', contextLength: 'contextLength', clsId: 'clsId', sepId: 'sepId' },
  imagebind: { graph: 'encode', width: 'joint', contextLength: 'positions', clsId: 'startId', sepId: 'endId' },
})

function opener(kind: keyof typeof OPENED) {
  const { graph, ...names } = OPENED[kind]
  /** @throws M4Error `IMAGE_INVALID`, `ENGINE` */
  return async (image: Image, role: Role, entry: ModuleEntry, engine: Engine): Promise<TextEmbedder> => {
    const tokenizer = await readTokenizer(image, role)
    const facts: TextEmbeddingFacts = {
      width: configNumber(entry, names.width),
      contextLength: configNumber(entry, names.contextLength),
      clsId: configNumber(entry, names.clsId),
      sepId: configNumber(entry, names.sepId),
    }
    const session = await engine.createSession({ path: image.graphPath(role, graph) })
    return new TextEmbedder(engine, session, { tokenizer, facts, graph: kind })
  }
}

export const openTextEmbedder = opener('bert')
/** ImageBind's encoder of text. */
export const openJointTextEmbedder = opener('imagebind')
