/** Sampling against distributions worked out by hand and by brute force. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isM4Error } from '../core/errors.js'
import { randomSource } from '../core/random.js'
import { argmax, logProbability, logSumExp } from './logits.js'
import { createSampler, type SamplingOptions } from './sampling.js'

const log = (probabilities: readonly number[]) => Float32Array.from(probabilities, Math.log)

/** How often each id is drawn. */
function frequencies(probabilities: readonly number[], options: SamplingOptions, draws = 20_000): number[] {
  const sampler = createSampler(probabilities.length, { temperature: 1, seed: 7, ...options })
  const counts = probabilities.map(() => 0)
  for (let i = 0; i < draws; i++) counts[sampler.choose(log(probabilities))]!++
  return counts.map((count) => count / draws)
}

/** Which ids can be drawn at all, by sorting: the definition, not the histogram. */
function survivors(logits: Float32Array, { temperature = 1, topK = 0, topP = 1, minP = 0 }: SamplingOptions): number[] {
  const top = Math.max(...logits)
  const weight = (id: number) => Math.exp((logits[id]! - top) / temperature)
  let ids = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b)
  if (topK > 0) ids = ids.slice(0, topK)
  if (topP < 1) {
    const mass = ids.reduce((sum, id) => sum + weight(id), 0)
    let reached = 0
    ids = ids.filter((id) => {
      const within = reached < topP * mass
      reached += weight(id)
      return within
    })
  }
  return ids.filter((id) => weight(id) >= minP).sort((a, b) => a - b)
}

describe('drawing', () => {
  test('follows the probabilities', () => {
    const seen = frequencies([0.5, 0.3, 0.15, 0.05], {})
    expect(seen.map((f) => Math.round(f * 50) / 50)).toEqual([0.5, 0.3, 0.16, 0.04].map((p) => expect.closeTo(p, 1)))
    expect(seen[0]).toBeCloseTo(0.5, 1)
    expect(seen[3]).toBeGreaterThan(0.03)
    expect(seen[3]).toBeLessThan(0.07)
  })

  test('temperature 0.5 squares them', () => {
    const [a, b] = frequencies([0.8, 0.2], { temperature: 0.5 })
    expect(a! / b!).toBeGreaterThan(13)
    expect(a! / b!).toBeLessThan(20)
  })

  test.each<[string, SamplingOptions, number[]]>([
    ['top-k keeps k', { topK: 2 }, [0, 1]],
    ['top-p keeps the token that reaches it', { topP: 0.7 }, [0, 1]],
    ['top-p just below one token', { topP: 0.49 }, [0]],
    ['min-p is relative to the best', { minP: 0.25 }, [0, 1, 2]],
    ['together', { topK: 3, topP: 0.99, minP: 0.5 }, [0, 1]],
  ])('%s', (_, options, kept) => {
    const seen = frequencies([0.5, 0.3, 0.15, 0.05], options, 4000)
    expect([...seen.keys()].filter((id) => seen[id]! > 0)).toEqual(kept)
  })

  test('cuts as sorting would, for any logits', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: -300, max: 300 }), { minLength: 2, maxLength: 60 }),
        fc.record({
          temperature: fc.double({ min: 0.2, max: 3, noNaN: true }),
          topK: fc.integer({ min: 1, max: 20 }),
          topP: fc.double({ min: 0.05, max: 1, noNaN: true }),
        }),
        (tenths, options) => {
          const logits = Float32Array.from(tenths, (value) => value / 10)
          const allowed = new Set(survivors(logits, options))
          const sampler = createSampler(logits.length, { ...options, seed: tenths[0]! })
          for (let i = 0; i < 20; i++) expect(allowed).toContain(sampler.choose(logits.slice()))
        },
      ),
      { numRuns: 200, seed: 11 },
    )
  })

  test('every survivor of a cut can be drawn', () => {
    const uniform = randomSource(3)
    const logits = Float32Array.from({ length: 3000 }, () => uniform() * 4)
    const options = { temperature: 1, topK: 40 }
    const sampler = createSampler(logits.length, options)
    const seen = new Set<number>()
    for (let i = 0; i < 5000; i++) seen.add(sampler.choose(logits.slice()))
    expect([...seen].sort((a, b) => a - b)).toEqual(survivors(logits, options))
  })

  test('one seed, one answer; another seed, another', () => {
    const draw = (seed: number) => {
      const sampler = createSampler(50, { temperature: 1, seed })
      return Array.from({ length: 30 }, () => sampler.choose(new Float32Array(50)))
    }
    expect(draw(5)).toEqual(draw(5))
    expect(draw(5)).not.toEqual(draw(6))
  })
})

describe('greedy', () => {
  test('the lowest id of equals, never the padding of the head', () => {
    const sampler = createSampler(3)
    expect(sampler.choose(Float32Array.of(1, 2, 2, 9))).toBe(1)
  })

  test('the repetition penalty counts each token once, both signs', () => {
    const sampler = createSampler(3, { repetitionPenalty: 2 })
    sampler.saw(0)
    sampler.saw(0)
    expect(sampler.choose(Float32Array.of(3, 1.4, -1))).toBe(0)
    sampler.saw(1)
    expect(sampler.choose(Float32Array.of(-1, -1.5, -1.9))).toBe(2)
  })

  test('numbers that are none are an error, not token 0', () => {
    for (const temperature of [0, 1])
      expect(() => createSampler(2, { temperature }).choose(Float32Array.of(Number.NaN, Number.NaN))).toThrow(/finite/)
    expect(() => argmax(Float32Array.of(1, Number.POSITIVE_INFINITY))).toThrow(/finite/)
  })

  test.each<[SamplingOptions]>([
    [{ temperature: -1 }],
    [{ topK: 0 }],
    [{ topK: 1.5 }],
    [{ topP: 0 }],
    [{ topP: 1.1 }],
    [{ minP: 2 }],
    [{ repetitionPenalty: 0 }],
    [{ seed: 0.5 }],
    [{ temperature: Number.NaN }],
  ])('%o is refused', (options) => {
    let thrown: unknown
    try {
      createSampler(10, options)
    } catch (error) {
      thrown = error
    }
    expect(isM4Error(thrown, 'INVALID_REQUEST')).toBe(true)
  })
})

describe('logits', () => {
  test('log-probabilities of a row within many', () => {
    const rows = Float32Array.from([9, 9, ...[0.5, 0.25, 0.25].map(Math.log), 9])
    expect(logProbability(rows, 2, 3, 0)).toBeCloseTo(Math.log(0.5), 6)
    expect(logSumExp(Float32Array.of(1000, 1000), 0, 2)).toBeCloseTo(1000 + Math.LN2, 3)
  })
})
