/** Which LoRA parts are trained: names, ranks and alphas as options say them. */

import { describe, expect, test } from 'vitest'
import { baseOf } from '../../adapters/testing/fixtures.js'
import { trainedOf } from './adapter.js'

const abi = baseOf(12, 16)
const lora = (parts: readonly string[], more: { readonly alpha?: number } = {}) =>
  trainedOf(abi, { kind: 'lora', parts, rank: 8, rsLora: true, tokens: 0, ...more })
const place = (site: string, part: string, rank: number, alpha: number) => ({ layer: 0, site, part, rank, alpha })

describe('parts of a LoRA', () => {
  test('a rank and an alpha of their own come before those of all', () => {
    const { places, rsLora } = lora(['q:16:32', 'k:4', 'v', 'o:2:.5']) as Extract<
      ReturnType<typeof lora>,
      { kind: 'lora' }
    >
    expect(rsLora).toBe(true)
    expect(places).toHaveLength(4 * abi.layers)
    expect(places.slice(0, 4)).toEqual([
      place('qkv', 'q', 16, 32),
      place('qkv', 'k', 4, 8),
      place('qkv', 'v', 8, 16),
      place('o', 'o', 2, 0.5),
    ])
    expect(lora(['q:16', 'k:4:1'], { alpha: 3 })).toMatchObject({
      places: expect.arrayContaining([place('qkv', 'q', 16, 3), place('qkv', 'k', 4, 1)]),
    })
  })

  test.each([
    ['q:16:x', 'INVALID_REQUEST', /"q:16:x": expected a part/],
    ['q::4', 'INVALID_REQUEST', /"q::4"/],
    ['q:', 'INVALID_REQUEST', /"q:"/],
    ['q:16:', 'INVALID_REQUEST', /"q:16:"/],
    ['q:16:32:1', 'INVALID_REQUEST', /"q:16:32:1"/],
    ['q:-1', 'INVALID_REQUEST', /"q:-1"/],
    ['q:16:.', 'INVALID_REQUEST', /"q:16:\."/],
    [':4', 'INVALID_REQUEST', /":4"/],
    ['q:16:0', 'INVALID_REQUEST', /Alpha of q: expected a number above 0, got 0/],
    ['q:0:4', 'INVALID_REQUEST', /Rank of q: expected 1 to 256, got 0/],
    ['q:257', 'INVALID_REQUEST', /Rank of q/],
    ['qq:4:4', 'UNKNOWN_NAME', /qq/],
  ])('%s is refused', (part, code, message) => {
    expect(() => lora(['v', part])).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }))
  })

  test('an alpha of nothing is refused for all parts too', () => {
    expect(() => lora(['q'], { alpha: 0 })).toThrow(/Alpha of q: expected a number above 0/)
    expect(() => lora(['q:4:4'], { alpha: 0 })).not.toThrow()
  })
})
