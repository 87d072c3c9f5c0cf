/** Which LoRA parts are trained: names, ranks and alphas as options say them, and that they are served so. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readAdapterPackage, readPeftAdapter, usableAdapter } from '../../adapters/index.js'
import { baseOf } from '../../adapters/testing/fixtures.js'
import { type Engine, openEngine } from '../../engine/index.js'
import { buildFirmware } from '../../firmware/build.js'
import { type Image, openImage } from '../../firmware/image.js'
import { findRecipe } from '../../firmware/recipes.js'
import { openFirmware } from '../../runtime/index.js'
import { trainAdapter } from '../trainer.js'
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

describe('ranks and alphas of their own', () => {
  const folder = mkdtempSync(join(tmpdir(), 'm4fm-lora-parts-'))
  const at = (...names: string[]) => join(folder, ...names)
  const samples = ['the sun is warm', 'rain and cold', 'a fine day', 'this hurts', 'I like it', 'no fun at all'].map(
    (text, i) => [text, i % 2 ? 'poor' : 'good'] as const,
  )
  let engine: Engine
  let image: Image

  beforeAll(async () => {
    engine = await openEngine()
    // In float32, so that training and serving can be compared closely.
    await buildFirmware(findRecipe('tiny-random'), { out: at('image'), quantisation: 'fp32' })
    image = await openImage(at('image'))
    writeFileSync(at('data.csv'), `text,label\n${samples.map((cells) => cells.join(',')).join('\n')}\n`)
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  test.each([false, true])('are trained as they are served, rsLoRA %s', async (rsLora) => {
    const options = { steps: 12, batch: 3, evalEvery: 6, parts: ['q:2:12', 'v', 'o:3'], rank: 4, alpha: 5, rsLora }
    const data = at('data.csv')
    const out = at(`adapter-${rsLora}`)
    const report = await trainAdapter({ data, evalData: data, image, engine, home: folder, out, options })
    expect(JSON.parse(readFileSync(join(out, 'adapter_config.json'), 'utf8'))).toMatchObject({
      r: 2,
      lora_alpha: 5,
      use_rslora: rsLora,
      rank_pattern: { q_proj: 2, v_proj: 4, o_proj: 3 },
      alpha_pattern: { q_proj: 12, v_proj: 5, o_proj: 5 },
    })
    // The loss that the trainer saw at the step that it kept, again from what the runtime makes of the written folder.
    const adapter = usableAdapter(readPeftAdapter(out, image.manifest.abi))
    const { prompt } = (await readAdapterPackage(out)).manifest
    using firmware = await openFirmware(image, { engine })
    let [sum, tokens] = [0, 0]
    for (const [text, label] of samples) {
      const { output } = await firmware.ask({ task: 'classify', text, ...prompt!, labels: prompt!.labels!, adapter })
      sum -= output.scores.find((score) => score.label === label)!.logProbability
      tokens += label.length // one of bytes each
    }
    const kept = report.fit.evaluations.find(({ step }) => step === report.fit.step)!
    expect(sum / tokens).toBeCloseTo(kept.loss, 4)
  })
})
