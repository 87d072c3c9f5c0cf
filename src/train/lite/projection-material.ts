/** Sentences as the projection learns them: points of the joint space, and token rows with places for soft tokens. */

import { normalSource } from '../../core/random.js'
import { type HostTensor, hostTensor } from '../../core/tensor.js'
import type { Image } from '../../firmware/image.js'
import { LITE_SOFT_PROMPT } from '../../models/index.js'
import { openFirmware } from '../../runtime/index.js'
import { readTokenizer } from '../../runtime/module-config.js'
import { softPromptIds } from '../../runtime/soft-prompt.js'
import type { Tokenizer } from '../../tokenizers/index.js'
import { IGNORED, type TokenRow } from '../backbone/batch.js'
import type { SoftTokens } from '../backbone/soft-tokens.js'
import type { LiteRequest } from './module.js'
import type { Sentence } from './sentences.js'

/** 384 numbers → four tokens of the backbone. */
export const SOFT: SoftTokens = { features: 384, tokens: 4, hidden: 256 }

/** Standard deviation of each number of a point: together about half the length of the point itself. */
const NOISE = 0.025

/** One sentence of this many is held out. */
const HELD_OUT_EVERY = 20

/** Sentences as the programs take them. */
export interface Material {
  readonly sentences: readonly Sentence[]
  /** Points of the joint space, length 1. [384] each */
  readonly points: readonly Float32Array[]
  readonly rows: readonly SoftRow[]
  /** Indices into them. */
  readonly train: readonly number[]
  readonly held: readonly number[]
}

/** A row with free places for the soft tokens. */
export interface SoftRow extends TokenRow {
  readonly firstSlot: number
  /** Ids of the answer alone. */
  readonly answer: readonly number[]
}

/** Sentences with their points and rows. @throws M4Error as `embed` */
export async function gatherMaterial(image: Image, request: LiteRequest, all: readonly Sentence[]): Promise<Material> {
  using firmware = await openFirmware(image, { engine: request.engine })
  const meant = [...new Set(all.map((sentence) => sentence.meant))]
  const { output } = await firmware.ask({ task: 'embed', texts: meant, signal: request.signal })
  const points = new Map(meant.map((text, i) => [text, output.embeddings[i]!]))
  const tokenizer = await readTokenizer(image, 'backbone')
  const indices = all.map((_, i) => i)
  return {
    sentences: all,
    points: all.map((sentence) => points.get(sentence.meant)!),
    rows: all.map((sentence) => rowOf(tokenizer, sentence)),
    train: indices.filter((i) => i % HELD_OUT_EVERY),
    held: indices.filter((i) => i % HELD_OUT_EVERY === 0),
  }
}

/** As `describe` puts it together, the answer and its end behind it. */
function rowOf(tokenizer: Tokenizer, { question, answer }: Sentence): SoftRow {
  const { bos, before, after, end } = softPromptIds(tokenizer, LITE_SOFT_PROMPT, question)
  const start = [...(bos === undefined ? [] : [bos]), ...before]
  // Its place holds no word: the embedding is written over.
  const prompt = [...start, ...new Array<number>(SOFT.tokens).fill(0), ...after]
  const own = tokenizer.encode(answer)
  const whole = [...prompt, ...own, ...tokenizer.encode(end).slice(-1)]
  return {
    ids: whole,
    labels: whole.map((id, t) => (t < prompt.length ? IGNORED : id)),
    firstSlot: start.length,
    answer: own,
  }
}

/** A point with noise around it, at length 1 again as the device will see it. Looks at held-out ones see each with the same noise. */
export function noisyPoints({ points }: Material, seed: number) {
  const normal = normalSource(seed)
  return (indices: readonly number[], fixed: boolean): HostTensor<'float32'> => {
    const data = new Float32Array(indices.length * SOFT.features)
    indices.forEach((index, b) => {
      const next = fixed ? normalSource(index) : normal
      const point = points[index]!.map((value) => value + NOISE * next())
      const length = Math.hypot(...point)
      data.set(
        point.map((value) => value / length),
        b * SOFT.features,
      )
    })
    return hostTensor('float32', [indices.length, SOFT.features], data)
  }
}
