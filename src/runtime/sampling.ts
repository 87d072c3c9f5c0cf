/**
 * Choosing the next token from logits: greedy, or drawn after temperature, top-k, top-p (arXiv:1904.09751) and min-p
 * (arXiv:2407.01082), in the order of Hugging Face transformers. Nothing is allocated per token: cutting works on a histogram, not on a sorted
 * vocabulary, and costs well under a millisecond for 32,000 tokens.
 */

import { M4Error } from '../core/errors.js'
import { randomSource } from '../core/random.js'
import { argmax, notFinite } from './logits.js'

export interface SamplingOptions {
  /** 0 is greedy: the most probable token, the lowest id of equals. Default 0. */
  readonly temperature?: number
  /** Keeps the k most probable tokens. */
  readonly topK?: number
  /** Keeps the most probable tokens that together reach this probability. */
  readonly topP?: number
  /** Keeps tokens at least this fraction as probable as the best. */
  readonly minP?: number
  /** Divides positive logits of tokens seen before, multiplies negative ones (arXiv:1909.05858). Default 1: off. */
  readonly repetitionPenalty?: number
  /** Same seed, same answer. Default 0. */
  readonly seed?: number
}

export interface Sampler {
  /** The next token. `logits` [V] may be written to. @throws M4Error `ENGINE` when they are not numbers */
  choose(logits: Float32Array): number
  /** Tells of a token of the prompt or the answer, for the repetition penalty. */
  saw(id: number): void
}

/** Field → what it may be. */
const LIMITS: Readonly<Record<keyof SamplingOptions, readonly [(value: number) => boolean, string]>> = Object.freeze({
  temperature: [(v) => v >= 0 && v <= 100, 'a number from 0 to 100'],
  topK: [(v) => Number.isInteger(v) && v >= 1, 'a whole number, 1 or more'],
  topP: [(v) => v > 0 && v <= 1, 'a number above 0, up to 1'],
  minP: [(v) => v >= 0 && v <= 1, 'a number from 0 to 1'],
  repetitionPenalty: [(v) => v > 0 && Number.isFinite(v), 'a number above 0'],
  seed: [(v) => Number.isSafeInteger(v), 'a whole number'],
})

/**
 * @param vocabularySize ids at or above it (padding of the model's head) are never chosen
 * @throws M4Error `INVALID_REQUEST`
 */
export function createSampler(vocabularySize: number, options: SamplingOptions = {}): Sampler {
  for (const [name, [fits, expected]] of Object.entries(LIMITS)) {
    const value = options[name as keyof SamplingOptions]
    if (value !== undefined && !(typeof value === 'number' && fits(value)))
      throw new M4Error('INVALID_REQUEST', `sampling.${name}: expected ${expected}, got ${String(value)}.`)
  }
  const { temperature = 0, repetitionPenalty = 1, seed = 0 } = options
  const seen = new Set<number>()
  const penalise = (logits: Float32Array) => {
    for (const id of seen)
      if (id < logits.length) logits[id]! *= logits[id]! < 0 ? repetitionPenalty : 1 / repetitionPenalty
  }
  const pick =
    temperature === 0
      ? (logits: Float32Array) => argmax(logits, vocabularySize)
      : drawer(vocabularySize, temperature, options, randomSource(seed))
  return {
    choose(logits) {
      if (repetitionPenalty !== 1) penalise(logits)
      return pick(logits)
    },
    saw: (id) => void (repetitionPenalty !== 1 && seen.add(id)),
  }
}

function drawer(limit: number, temperature: number, options: SamplingOptions, uniform: () => number) {
  const { topK = 0, topP = 1, minP = 0 } = options
  const scaled = new Float64Array(limit) // (logit - best) / temperature, by id
  const weight = new Float64Array(limit) // its exponential
  const kept = new Int32Array(limit) // candidates, ids ascending
  const cut = histogramCut(limit, scaled, weight, kept)
  return (logits: Float32Array): number => {
    const top = logits[argmax(logits, limit)]!
    let count = 0
    let mass = 0
    const size = Math.min(limit, logits.length)
    for (let id = 0; id < size; id++) {
      scaled[id] = (logits[id]! - top) / temperature
      weight[id] = Math.exp(scaled[id]!)
      if (weight[id]! >= 0) {
        mass += weight[id]!
        kept[count++] = id
      }
    }
    if (!Number.isFinite(mass)) throw notFinite()
    if (topK > 0 && topK < count) count = cut(count, 'count', topK)
    if (topP < 1) {
      mass = 0
      for (let i = 0; i < count; i++) mass += weight[kept[i]!]!
      count = cut(count, 'mass', topP * mass)
    }
    mass = 0
    let left = 0
    for (let i = 0; i < count; i++) {
      const id = kept[i]!
      if (weight[id]! < minP) continue
      mass += weight[id]!
      kept[left++] = id
    }
    let rest = uniform() * mass
    for (let i = 0; i < left - 1; i++) {
      rest -= weight[kept[i]!]!
      if (rest < 0) return kept[i]!
    }
    return kept[left - 1]!
  }
}

const BUCKETS = 1024
/** e^-40 of the best is nothing: what lies deeper shares the last bucket. */
const DEPTH = 40

/**
 * Keeps the fewest most probable candidates whose count or mass reaches `enough`; equals go by lower id. Only the bucket where
 * that happens is sorted.
 */
function histogramCut(limit: number, scaled: Float64Array, weight: Float64Array, kept: Int32Array) {
  const inBucket = new Int32Array(BUCKETS)
  const massOf = new Float64Array(BUCKETS)
  const edge = new Int32Array(limit)
  return (count: number, by: 'count' | 'mass', enough: number): number => {
    let lowest = 0
    for (let i = 0; i < count; i++) lowest = Math.min(lowest, scaled[kept[i]!]!)
    const perUnit = (BUCKETS - 1) / Math.max(Math.min(-lowest, DEPTH), 1e-9)
    const bucketOf = (id: number) => Math.min(BUCKETS - 1, Math.floor(-scaled[id]! * perUnit))
    inBucket.fill(0)
    massOf.fill(0)
    for (let i = 0; i < count; i++) {
      const bucket = bucketOf(kept[i]!)
      inBucket[bucket]!++
      massOf[bucket]! += weight[kept[i]!]!
    }
    let reached = 0
    let last = 0
    for (; last < BUCKETS - 1; last++) {
      const amount = by === 'count' ? inBucket[last]! : massOf[last]!
      if (reached + amount >= enough) break
      reached += amount
    }
    let edgeCount = 0
    for (let i = 0; i < count; i++) if (bucketOf(kept[i]!) === last) edge[edgeCount++] = kept[i]!
    const ranked = edge.subarray(0, edgeCount).sort((a, b) => scaled[b]! - scaled[a]! || a - b)
    let fromEdge = 0
    while (fromEdge < edgeCount && reached < enough) {
      reached += by === 'count' ? 1 : weight[ranked[fromEdge]!]!
      fromEdge++
    }
    const worst = fromEdge > 0 ? ranked[fromEdge - 1]! : -1
    let left = 0
    for (let i = 0; i < count; i++) {
      const id = kept[i]!
      const bucket = bucketOf(id)
      const within =
        bucket < last ||
        (bucket === last &&
          worst >= 0 &&
          (scaled[id]! > scaled[worst]! || (scaled[id] === scaled[worst] && id <= worst)))
      if (within) kept[left++] = id
    }
    return left
  }
}
