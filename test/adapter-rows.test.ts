/** One run, two rows, each with an adapter of its own: what batches of several apps rest on. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { normalSource } from '../src/core/random.js'
import { type Engine, openEngine } from '../src/engine/index.js'
import { buildFirmware } from '../src/firmware/build.js'
import { type Image, openImage } from '../src/firmware/image.js'
import { findRecipe } from '../src/firmware/recipes.js'

const folder = mkdtempSync(join(tmpdir(), 'm4fm-rows-'))
const [T, RANK] = [5, 3]
let engine: Engine
let image: Image

beforeAll(async () => {
  engine = await openEngine()
  // In float32 every row is computed apart; int8 products share a zero point among rows.
  await buildFirmware(findRecipe('tiny-random'), { out: folder, quantisation: 'fp32' })
  image = await openImage(folder)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Logits of the last row of each item. `scales`: of each item's adapter; 0 is none. */
async function logits(
  ids: readonly (readonly number[])[],
  scales: readonly number[],
  rank = RANK,
): Promise<Float32Array[]> {
  const { abi } = image.manifest
  using embed = await engine.createSession({ path: image.graphPath('backbone', 'embed') })
  using decode = await engine.createSession({ path: image.graphPath('backbone', 'decode') })
  const B = ids.length
  const flat = BigInt64Array.from(ids.flat(), BigInt)
  const { embeddings } = await embed.run({ ids: engine.tensor('int64', [B, T], flat) })
  const feeds: Parameters<typeof decode.run>[0] = {
    inputs_embeds: embeddings!,
    seqlens_k: engine.tensor('int32', [B], new Int32Array(B).fill(T - 1)),
    total_sequence_length: engine.tensor('int32', [], Int32Array.of(T)),
    logit_idx: engine.tensor('int64', [1], BigInt64Array.of(BigInt(T - 1))),
    ...Object.fromEntries(
      decode.inputs
        .filter(({ name }) => name.startsWith('past/'))
        .map(({ name }) => [name, engine.tensor('float32', [B, abi.kvHeads, 0, abi.headWidth])]),
    ),
  }
  for (const { name, dims } of decode.inputs) {
    if (!name.startsWith('lora/')) continue
    const [, rows, columns] = dims.map((dim) => (typeof dim === 'number' ? dim : rank)) as [number, number, number]
    const values = scales.flatMap((scale, row) => {
      const normal = normalSource(name.length * 100 + name.charCodeAt(12) + row)
      return Array.from({ length: rows * columns }, () => normal() * 0.3 * scale)
    })
    ;(feeds as Record<string, unknown>)[name] = engine.tensor(
      'float32',
      [B, rows, columns],
      Float32Array.from(values) as never,
    )
  }
  const { logits: out } = await decode.run(feeds, ['logits'])
  const V = abi.vocabulary
  return ids.map((_, b) => (out!.data as Float32Array).slice(b * V, (b + 1) * V))
}

const largest = (a: Float32Array, b: Float32Array) =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0)

test('each row of a batch has its own adapter', async () => {
  const [first, second] = [
    [1, 5, 9, 13, 17],
    [1, 6, 10, 14, 18],
  ]
  const [mixed] = [await logits([first, second], [1, 0])]
  const [alone] = await logits([first], [1])
  const [base] = await logits([second], [0])
  const [baseOfFirst] = await logits([first], [0])
  expect(largest(mixed[0]!, alone!)).toBeLessThan(1e-5)
  expect(largest(mixed[1]!, base!)).toBeLessThan(1e-5)
  expect(largest(mixed[0]!, baseOfFirst!)).toBeGreaterThan(1e-2)
})

test('rank 0 is the base, to the bit', async () => {
  const ids = [[1, 5, 9, 13, 17]]
  const [none] = await logits(ids, [0], 0)
  const [zeros] = await logits(ids, [0], RANK)
  expect(largest(none!, zeros!)).toBe(0)
})
