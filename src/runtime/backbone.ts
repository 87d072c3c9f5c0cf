/**
 * The backbone: a LLaMA-family decoder over embeddings. It owns the sessions and the tokenizer; what a conversation needs is in
 * its contexts. Graphs: `embed` (ids → embeddings) and `decode` (see models/llama.ts for its inputs).
 */

import { Handle } from '../core/disposal.js'
import type { DataOf } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'
import type { Engine, Session } from '../engine/types.js'
import type { Image } from '../firmware/image.js'
import type { ModuleEntry, Role } from '../firmware/manifest.js'
import type { Tokenizer } from '../tokenizers/index.js'
import { loraPlaces } from './adapter-binding.js'
import { Context, type DecoderParts } from './context.js'
import { gatedPromptPlaces } from './gated-prompt.js'
import { cacheShape } from './kv-cache.js'
import { configNumber, configNumbers, optionalNumber, readText, readTokenizer } from './module-config.js'
import { PATCHES, type PatchReader, type PlacedPicture, patchFacts, readPatches, splicePatches } from './patches.js'
import { type ChatTemplate, parseChatTemplate } from './prompts.js'
import type { ClipHeads } from './tower.js'

/** The graph from the joint space (recipe: `graphs.project`). */
export const PROJECT = 'project'

export interface BackboneFacts {
  readonly width: number
  readonly vocabulary: number
  readonly contextLength: number
  readonly bosId: number | undefined
  readonly eosIds: readonly number[]
}

export class Backbone extends Handle {
  readonly tokenizer: Tokenizer
  readonly facts: BackboneFacts
  /** Where the image carries one. */
  readonly chatTemplate: ChatTemplate | undefined
  readonly #parts: DecoderParts
  /** Where the backbone takes pictures itself. */
  readonly patches: PatchReader | undefined
  readonly #projection: Session | undefined
  readonly #contexts = new Set<Context>()
  #shared: Context | undefined

  constructor(
    parts: DecoderParts,
    options: {
      tokenizer: Tokenizer
      facts: BackboneFacts
      chatTemplate?: ChatTemplate | undefined
      /** From the joint space, where the image carries one. */
      projection?: Session | undefined
      patches?: PatchReader | undefined
    },
  ) {
    super('backbone')
    this.#parts = parts
    this.#projection = options.projection
    this.patches = options.patches
    this.tokenizer = options.tokenizer
    this.facts = options.facts
    this.chatTemplate = options.chatTemplate
  }

  /** The context that requests share, one after the other; a prefix that they have in common is evaluated once. */
  get context(): Context {
    this.#shared ??= this.createContext()
    return this.#shared
  }

  /** A context of one's own. Disposed with the backbone, or earlier by its user. */
  createContext(options: { readonly chunkTokens?: number } = {}): Context {
    this.assertLive('createContext')
    const context = new Context(this.#parts, options)
    for (const old of this.#contexts) if (old.disposed) this.#contexts.delete(old)
    this.#contexts.add(context)
    return context
  }

  /** Embeddings of ids, for those who put a prompt together from soft and hard tokens. float32 [T, C] */
  async embed(ids: readonly number[]): Promise<Float32Array> {
    this.assertLive('embed')
    const { engine, embed } = this.#parts
    const input = engine.tensor('int64', [1, ids.length], BigInt64Array.from(ids, BigInt))
    try {
      const { embeddings } = await embed.run({ ids: input }, ['embeddings'])
      const rows = (embeddings!.data as Float32Array).slice()
      embeddings!.dispose()
      return rows
    } finally {
      input.dispose()
    }
  }

  /**
   * What an encoder's head gives for each clip of one item → its soft tokens. [n·C]
   * @throws M4Error `NOT_AVAILABLE` where the image has no projection, `SHAPE_MISMATCH` for heads of another joint space
   */
  async project({ heads, clips }: ClipHeads): Promise<Float32Array> {
    this.assertLive('project')
    const session = this.#projection
    if (!session)
      throw new M4Error('NOT_AVAILABLE', 'The backbone of this image has no projection from the joint space.', {
        hint: 'Use an image of the recipe standard, or build one whose backbone has the graph `project`.',
      })
    const joint = session.inputs.find(({ name }) => name === 'head')!.dims[2]
    if (joint !== heads.length / clips)
      throw new M4Error(
        'SHAPE_MISMATCH',
        `The projection takes ${joint} numbers, the encoder gives ${heads.length / clips}.`,
        {
          hint: 'Build the image with the projection that was trained on this encoder.',
        },
      )
    const head = this.#parts.engine.tensor('float32', [1, clips, heads.length / clips], heads as DataOf<'float32'>)
    try {
      const { softToken } = await session.run({ head }, ['softToken'])
      const token = (softToken!.data as Float32Array).slice()
      softToken!.dispose()
      return token
    } finally {
      head.dispose()
    }
  }

  /**
   * A picture as tokens of the backbone: patches in their places, an end behind each row. float32 [T, C]
   * @throws M4Error `NOT_AVAILABLE` where the backbone takes no pictures, `ABORTED`
   */
  async see({ picture, ids }: PlacedPicture, signal?: AbortSignal): Promise<Float32Array> {
    this.assertLive('see')
    if (!this.patches)
      throw new M4Error('NOT_AVAILABLE', 'The backbone of this image takes no pictures.', {
        hint: 'Use an image of the recipe fuyu, or describe pictures through an encoder.',
      })
    const rows = await this.embed(ids)
    const patches = await readPatches(this.#parts.engine, this.patches, picture, signal)
    splicePatches(rows, ids, patches, this.patches.facts.patchId)
    return rows
  }

  protected override release(): void {
    for (const context of this.#contexts) context.dispose()
    this.#parts.embed.dispose()
    this.#parts.decode.dispose()
    this.#projection?.dispose()
    this.patches?.session.dispose()
  }
}

/** @throws M4Error `IMAGE_INVALID`, `ENGINE` */
export async function openBackbone(image: Image, role: Role, entry: ModuleEntry, engine: Engine): Promise<Backbone> {
  const tokenizer = await readTokenizer(image, role)
  const template = Object.hasOwn(entry.files, 'chatTemplate') ? await readText(image, role, 'chatTemplate') : undefined
  const facts: BackboneFacts = {
    width: configNumber(entry, 'width'),
    vocabulary: configNumber(entry, 'vocabulary'),
    contextLength: configNumber(entry, 'contextLength'),
    bosId: optionalNumber(entry, 'bosId'),
    eosIds: configNumbers(entry, 'eosIds'),
  }
  if (tokenizer.vocabularySize > facts.vocabulary)
    throw new M4Error(
      'IMAGE_INVALID',
      `The tokenizer has ${tokenizer.vocabularySize} ids, the backbone only ${facts.vocabulary}.`,
      { hint: 'Build the image with the tokenizer of this model.' },
    )
  const chatTemplate = template === undefined ? undefined : parseChatTemplate(template)
  const sessions: Session[] = []
  try {
    const open = async (graph: string) => {
      const session = await engine.createSession({ path: image.graphPath(role, graph) })
      sessions.push(session)
      return session
    }
    const [embed, decode] = [await open('embed'), await open('decode')]
    const projection = Object.hasOwn(entry.graphs, PROJECT) ? await open(PROJECT) : undefined
    const patches = Object.hasOwn(entry.graphs, PATCHES)
      ? { facts: patchFacts(entry), session: await open(PATCHES) }
      : undefined
    const { width, vocabulary, contextLength } = facts
    const cache = cacheShape(decode.inputs)
    const [places, prompts] = [loraPlaces(decode.inputs), gatedPromptPlaces(decode.inputs)]
    const parts: DecoderParts = { engine, embed, decode, width, vocabulary, contextLength, cache, places, prompts }
    return new Backbone(parts, { tokenizer, facts, chatTemplate, projection, patches })
  } catch (error) {
    for (const session of sessions) session.dispose()
    throw error
  }
}
