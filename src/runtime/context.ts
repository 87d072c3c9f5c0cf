/**
 * One conversation with the backbone: its KV cache, its adapter, and one binding that every run goes through. One caller at a
 * time; `Firmware` sees to that.
 *
 * Kernel facts that this file lives by (ONNX Runtime 1.30, GroupQueryAttention on CPU): seqlens_k is the last position, not a
 * count; wrong values are not caught there, so lengths are checked here; chunks after the first need batch 1.
 */

import type { AdapterTensors } from '../adapters/types.js'
import { Handle } from '../core/disposal.js'
import type { DataOf } from '../core/dtypes.js'
import { M4Error, throwIfAborted } from '../core/errors.js'
import { int64Tensor } from '../core/tensor.js'
import type { Binding, Engine, Session, Tensor } from '../engine/types.js'
import { type BoundLora, bindLora, type LoraPlace } from './adapter-binding.js'
import { type BoundGatedPrompt, bindGatedPrompt, type GatedPromptPlace } from './gated-prompt.js'
import { type CacheShape, createKvCache, type KvCache } from './kv-cache.js'
import { type Chunk, planChunks, promptLength, reusableChunks, type Segment } from './prompt-plan.js'

/** What a context needs of its backbone. */
export interface DecoderParts {
  readonly engine: Engine
  readonly embed: Session
  readonly decode: Session
  readonly width: number
  readonly vocabulary: number
  readonly contextLength: number
  readonly cache: CacheShape
  readonly places: readonly LoraPlace[]
  /** Where LLaMA-Adapter attaches; none in most backbones. */
  readonly prompts?: readonly GatedPromptPlace[]
}

export interface RunSignal {
  readonly signal?: AbortSignal | undefined
}

export interface Prefilled {
  /** Of the last row, [V]: a view that the next run overwrites. */
  readonly logits: Float32Array
  readonly promptTokens: number
  /** Rows that were still in the cache. */
  readonly reusedTokens: number
}

/** Rows evaluated at once: full speed within 5 % (W8A8; 0 % for 4 bit), and soon stopped. Measured at 32 to 256 rows, TinyLlama. */
export const CHUNK_TOKENS = 128

export class Context extends Handle {
  readonly #parts: DecoderParts
  readonly #chunkTokens: number
  readonly #binding: Binding
  readonly #embedBinding: Binding
  readonly #kv: KvCache
  /** Inputs and outputs of one decode step, bound when no chunk runs. */
  readonly #id: Tensor // [1, 1]
  readonly #row: Tensor // [1, 1, C]
  readonly #wanted: Tensor // [1]
  readonly #logits: Tensor // [1, 1, V]
  readonly #lastPosition: Tensor // [1]
  readonly #total: Tensor // []
  #adapter: AdapterTensors | undefined
  #lora: BoundLora
  #prompt: BoundGatedPrompt
  /** Rows of a prefix adapter, before all chunks. */
  #base = 0
  #chunks: Chunk[] = []
  #length = 0

  constructor(parts: DecoderParts, options: { readonly chunkTokens?: number } = {}) {
    super('context')
    const { engine, width, vocabulary } = parts
    this.#parts = parts
    this.#chunkTokens = options.chunkTokens ?? CHUNK_TOKENS
    this.#binding = parts.decode.bind()
    this.#embedBinding = parts.embed.bind()
    this.#kv = createKvCache(engine, this.#binding, parts.cache, parts.contextLength)
    this.#id = engine.tensor('int64', [1, 1])
    this.#row = engine.tensor('float32', [1, 1, width])
    this.#wanted = engine.tensor('int64', [1])
    this.#logits = engine.tensor('float32', [1, 1, vocabulary])
    this.#lastPosition = engine.tensor('int32', [1])
    this.#total = engine.tensor('int32', [])
    this.#embedBinding.bindInput('ids', this.#id)
    this.#embedBinding.bindOutput('embeddings', this.#row)
    this.#binding.bindInput('seqlens_k', this.#lastPosition)
    this.#binding.bindInput('total_sequence_length', this.#total)
    this.#bindStep()
    this.#lora = bindLora(engine, parts.places)
    this.#prompt = bindGatedPrompt(engine, parts.prompts ?? [])
    this.#bindLora()
  }

  /** Rows in the cache, those of the adapter included. */
  get length(): number {
    return this.#length
  }

  get contextLength(): number {
    return this.#parts.contextLength
  }

  /** Bytes of the KV cache now. */
  get cacheBytes(): number {
    return this.#kv.bytes
  }

  /** Rows that the adapter puts in front of every prompt. */
  get adapterTokens(): number {
    return (this.#adapter?.prefix?.tokens ?? 0) + (this.#adapter?.softPrompt?.tokens ?? 0)
  }

  /**
   * What follows runs with this adapter; the same one again costs nothing and keeps the cache.
   * @throws M4Error `UNKNOWN_NAME`, `SHAPE_MISMATCH` when the adapter does not fit; the context then keeps the old one
   */
  useAdapter(adapter: AdapterTensors | undefined): void {
    this.assertLive('useAdapter')
    if (adapter === this.#adapter) return
    if (adapter) this.#checkVirtualTokens(adapter)
    const base = adapter?.prefix?.tokens ?? 0
    // What can fail comes first, so that a refused adapter leaves everything as it was.
    this.#kv.reserve(base, this.#length)
    const { engine, places, prompts = [] } = this.#parts
    const prompt = bindGatedPrompt(engine, prompts, adapter)
    let lora: BoundLora
    try {
      lora = bindLora(engine, places, adapter)
    } catch (error) {
      prompt.dispose()
      throw error
    }
    const previous = [this.#lora, this.#prompt]
    this.#lora = lora
    this.#prompt = prompt
    this.#bindLora()
    for (const bound of previous) bound.dispose()
    this.#adapter = adapter
    this.#chunks = []
    this.#base = base
    this.#length = base
    for (const [layer, { key, value }] of adapter?.prefix?.layers.entries() ?? []) {
      this.#kv.write(`layers.${layer}/key`, key, base)
      this.#kv.write(`layers.${layer}/value`, value, base)
    }
  }

  /** @throws M4Error `EMPTY_INPUT` for a prompt of no tokens, `CONTEXT_OVERFLOW` where prompt and answer do not fit */
  assertFits(segments: readonly Segment[], maxTokens: number): number {
    const promptTokens = promptLength(segments, this.#parts.width)
    if (promptTokens === 0)
      throw new M4Error('EMPTY_INPUT', 'The prompt has no tokens.', { hint: 'Give it some text.' })
    const { contextLength } = this.#parts
    const { adapterTokens } = this
    if (adapterTokens + promptTokens + maxTokens > contextLength)
      throw new M4Error(
        'CONTEXT_OVERFLOW',
        `The context holds ${contextLength} tokens, but the prompt has ${promptTokens}${adapterTokens ? `, the adapter ${adapterTokens}` : ''} and the answer may have ${maxTokens}.`,
        {
          hint: 'Shorten the prompt or ask for fewer tokens: nothing is cut silently.',
          details: { promptTokens, maxTokens, contextLength, ...(adapterTokens ? { adapterTokens } : {}) },
        },
      )
    return promptTokens
  }

  /**
   * Evaluates a prompt from its beginning; leading chunks that are in the cache already are not evaluated again.
   * @throws M4Error `EMPTY_INPUT`, `CONTEXT_OVERFLOW`, `ABORTED` (between two chunks, or within one)
   */
  async prefill(segments: readonly Segment[], { signal }: RunSignal = {}): Promise<Prefilled> {
    this.assertLive('prefill')
    const promptTokens = this.assertFits(segments, 0)
    const { width } = this.#parts
    const prompt = planChunks(segments, width, this.#chunkTokens)
    const chunks = [...this.#softPromptChunks(), ...prompt]
    const reused = reusableChunks(this.#chunks, chunks)
    this.rewind(reused)
    const reusedTokens = this.#length - this.#base
    for (const chunk of chunks.slice(reused)) await this.#evaluate(chunk, signal)
    return { logits: this.#logits.data as Float32Array, promptTokens, reusedTokens }
  }

  /** One more token. Logits [V] of what follows: a view that the next run overwrites. @throws M4Error `CONTEXT_OVERFLOW`, `ABORTED` */
  async step(id: number, { signal }: RunSignal = {}): Promise<Float32Array> {
    this.assertLive('step')
    throwIfAborted(signal)
    this.#announce(1)
    ;(this.#id.data as BigInt64Array)[0] = BigInt(id)
    await this.#embedBinding.run()
    await this.#binding.run({ signal })
    this.#commit({ keys: [id] })
    return this.#logits.data as Float32Array
  }

  /**
   * Evaluates ids behind what is in the cache (an adapter's soft prompt first) and gives the logits of every row.
   * @param visit called with [rows, V] (valid during the call) and the index of its first row in `ids`
   * @throws M4Error `CONTEXT_OVERFLOW`, `ABORTED`
   */
  async evaluateAll(
    ids: readonly number[],
    visit: (logits: Float32Array, from: number) => void,
    { signal }: RunSignal = {},
  ): Promise<void> {
    this.assertLive('evaluateAll')
    if (this.#chunks.length === 0) for (const chunk of this.#softPromptChunks()) await this.#evaluate(chunk, signal)
    for (let from = 0; from < ids.length; from += this.#chunkTokens) {
      const keys = ids.slice(from, from + this.#chunkTokens)
      const logits = this.#parts.engine.tensor('float32', [1, keys.length, this.#parts.vocabulary])
      try {
        await this.#evaluate({ keys }, signal, logits)
        visit(logits.data as Float32Array, from)
      } finally {
        this.#bindStep()
        logits.dispose()
      }
    }
  }

  /** A point to come back to with `rewind`. */
  mark(): number {
    return this.#chunks.length
  }

  /** Forgets everything after the mark. */
  rewind(mark: number): void {
    this.#chunks = this.#chunks.slice(0, mark)
    this.#length = this.#chunks.reduce((sum, { keys }) => sum + keys.length, this.#base)
  }

  protected override release(): void {
    this.#binding.dispose()
    this.#embedBinding.dispose()
    this.#kv.dispose()
    this.#lora.dispose()
    this.#prompt.dispose()
    for (const tensor of [this.#id, this.#row, this.#wanted, this.#logits, this.#lastPosition, this.#total])
      tensor.dispose()
  }

  /** Runs one chunk; logits of its last row go to the step's tensor, or those of every row to `all`. */
  async #evaluate(chunk: Chunk, signal: AbortSignal | undefined, all?: Tensor): Promise<void> {
    throwIfAborted(signal)
    const rows = chunk.keys.length
    this.#announce(rows)
    const embeddings = await this.#embeddingsOf(chunk)
    const wanted = all ? Array.from({ length: rows }, (_, i) => i) : [rows - 1]
    const places = this.#tensorOf(wanted)
    try {
      this.#binding.bindInput('inputs_embeds', embeddings)
      this.#binding.bindInput('logit_idx', places)
      this.#binding.bindOutput('logits', all ?? this.#logits)
      await this.#binding.run({ signal })
    } finally {
      this.#bindStep()
      embeddings.dispose()
      places.dispose()
    }
    this.#commit(chunk)
  }

  async #embeddingsOf(chunk: Chunk): Promise<Tensor> {
    const { engine, embed, width } = this.#parts
    const { keys } = chunk
    if (chunk.embeddings)
      return engine.tensor('float32', [1, keys.length, width], chunk.embeddings as DataOf<'float32'>)
    const ids = this.#tensorOf(keys, [1, keys.length])
    try {
      return (await embed.run({ ids }, ['embeddings'])).embeddings!
    } finally {
      ids.dispose()
    }
  }

  #tensorOf(values: readonly number[], dims: readonly number[] = [values.length]): Tensor {
    return this.#parts.engine.tensor('int64', dims, int64Tensor(dims, values).data)
  }

  /** Says how long the cache will be after this run, and makes room for it. */
  #announce(rows: number): void {
    const total = this.#length + rows
    if (total > this.#parts.contextLength)
      throw new M4Error('CONTEXT_OVERFLOW', `The context of ${this.#parts.contextLength} tokens is full.`, {
        hint: 'Start again with a shorter prompt.',
        details: { contextLength: this.#parts.contextLength, tokens: total },
      })
    this.#kv.reserve(total, this.#length)
    ;(this.#lastPosition.data as Int32Array)[0] = total - 1
    ;(this.#total.data as Int32Array)[0] = total
  }

  /** Only a run that ended well counts; rows of one that failed are written over by the next. */
  #commit(chunk: Chunk): void {
    this.#chunks.push(chunk)
    this.#length += chunk.keys.length
  }

  #bindStep(): void {
    this.#binding.bindInput('inputs_embeds', this.#row)
    this.#binding.bindInput('logit_idx', this.#wanted)
    this.#binding.bindOutput('logits', this.#logits)
  }

  #bindLora(): void {
    for (const { tensors } of [this.#lora, this.#prompt])
      for (const [name, tensor] of tensors) this.#binding.bindInput(name, tensor)
  }

  /** The adapter is the same for all that is in the cache, so its rows have lasting keys. */
  #softPromptChunks(): Chunk[] {
    const soft = this.#adapter?.softPrompt
    if (!soft || soft.tokens === 0) return []
    return [{ keys: Array.from({ length: soft.tokens }, (_, i) => -1 - i), embeddings: soft.embeddings }]
  }

  #checkVirtualTokens({ name, softPrompt, prefix }: AdapterTensors): void {
    const { width, cache, contextLength } = this.#parts
    const fail = (what: string) => {
      throw new M4Error('SHAPE_MISMATCH', `Adapter ${name}: ${what}.`, {
        hint: 'The adapter was made for another base model.',
        details: { adapter: name },
      })
    }
    if (softPrompt && softPrompt.embeddings.length !== softPrompt.tokens * width)
      fail(
        `soft prompt of ${softPrompt.tokens} tokens needs ${softPrompt.tokens * width} numbers, got ${softPrompt.embeddings.length}`,
      )
    const virtual = (softPrompt?.tokens ?? 0) + (prefix?.tokens ?? 0)
    if (virtual >= contextLength) fail(`${virtual} virtual tokens leave no room in a context of ${contextLength}`)
    if (!prefix) return
    const layers = cache.names.length / 2
    if (prefix.layers.length !== layers) fail(`prefix of ${prefix.layers.length} layers, the backbone has ${layers}`)
    const count = cache.heads * prefix.tokens * cache.width
    for (const [layer, { key, value }] of prefix.layers.entries())
      if (key.length !== count || value.length !== count)
        fail(
          `prefix of layer ${layer} needs ${count} numbers each for key and value, got ${key.length} and ${value.length}`,
        )
  }
}
