/** The backbone of the tiny-random image on the real engine: contexts, adapters, scores. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { AdapterTensors, PackedLora } from '../src/adapters/types.js'
import { liveHandles } from '../src/core/disposal.js'
import { normalSource } from '../src/core/random.js'
import { openEngine } from '../src/engine/index.js'
import { buildFirmware } from '../src/firmware/build.js'
import { type Image, openImage } from '../src/firmware/image.js'
import { findRecipe } from '../src/firmware/recipes.js'
import {
  type Backbone,
  createModules,
  logProbability,
  type Modules,
  perplexity,
  planLabels,
  type Segment,
  scoreLabels,
} from '../src/runtime/index.js'

const folder = mkdtempSync(join(tmpdir(), 'm4fm-backbone-'))
const imagePath = join(folder, 'tiny-random')
let image: Image

beforeAll(async () => {
  await buildFirmware(findRecipe('tiny-random'), { out: imagePath })
  image = await openImage(imagePath)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('backbone', () => {
  let modules: Modules
  let backbone: Backbone
  beforeAll(async () => {
    modules = createModules(image, await openEngine())
    const lease = await modules.use('backbone')
    backbone = lease.module
    lease.leave()
  })
  afterAll(() => {
    modules.close()
    expect(liveHandles()).toEqual({})
  })

  const ids = (text: string) => backbone.tokenizer.encode(text, { addBos: true })
  const say = (text: string): Segment[] => [{ ids: ids(text) }]

  /** Logits of a prompt in a context of its own, copied. */
  async function fresh(segments: readonly Segment[], adapter?: AdapterTensors, chunkTokens?: number) {
    const context = backbone.createContext(chunkTokens === undefined ? {} : { chunkTokens })
    try {
      context.useAdapter(adapter)
      return (await context.prefill(segments)).logits.slice()
    } finally {
      context.dispose()
    }
  }

  const random = (count: number, seed: number, scale = 0.3) => {
    const next = normalSource(seed)
    return Float32Array.from({ length: count }, () => next() * scale)
  }
  const lora = (rank: number, seed: number): PackedLora => ({
    rank,
    a: random(64 * rank, seed),
    b: random(rank * 128, seed + 1),
  })

  test('steps after a prompt equal the prompt with them', async () => {
    const context = backbone.createContext()
    const prompt = ids('abcdef')
    await context.prefill([{ ids: prompt.slice(0, 4) }])
    for (const id of prompt.slice(4, -1)) await context.step(id)
    const stepped = await context.step(prompt.at(-1)!)
    const whole = await fresh([{ ids: prompt }])
    expect(Math.max(...stepped.map((value, i) => Math.abs(value - whole[i]!)))).toBeLessThan(0.05)
    expect(context.length).toBe(prompt.length)
    context.dispose()
  })

  test('a prefix from the cache gives the same bits as a fresh context', async () => {
    const shared = { ids: ids('x'.repeat(70)) }
    const promptOf = (own: string): Segment[] => [shared, { ids: ids(own).slice(1) }]
    const [a, b] = [promptOf('one'), promptOf('another')]
    const context = backbone.createContext()
    await context.prefill(a)
    await context.step(5)
    const { logits, reusedTokens } = await context.prefill(b)
    expect(reusedTokens).toBe(71)
    expect([...logits]).toEqual([...(await fresh(b))])
    context.dispose()
  })

  test('aborted in the middle of a prompt: nothing half-read is trusted', async () => {
    const prompt = say('y'.repeat(240))
    const context = backbone.createContext({ chunkTokens: 8 })
    const controller = new AbortController()
    const reading = context.prefill(prompt, { signal: controller.signal })
    setImmediate(() => controller.abort())
    await expect(reading).rejects.toMatchObject({ code: 'ABORTED' })
    expect(context.length).toBeLessThan(241)
    const { logits } = await context.prefill(prompt)
    expect([...logits]).toEqual([...(await fresh(prompt, undefined, 8))])
    context.dispose()
  })

  test('soft tokens stand where ids stand', async () => {
    const [before, middle, after] = [ids('ab'), [70, 71], [80]]
    const embeddings = await backbone.embed(middle)
    const asIds = await fresh([{ ids: before }, { ids: middle }, { ids: after }])
    expect([...(await fresh([{ ids: before }, { embeddings }, { ids: after }]))]).toEqual([...asIds])
    await expect(fresh([{ embeddings: embeddings.subarray(1) }])).rejects.toMatchObject({ code: 'SHAPE_MISMATCH' })
  })

  test('an adapter of no places is the base bit for bit; one with places is not, and leaves no trace', async () => {
    const base = await fresh(say('Hello'))
    const empty: AdapterTensors = { name: 'empty', lora: new Map() }
    const adapter: AdapterTensors = { name: 'some', lora: new Map([['layers.1/attn/qkv', lora(2, 1)]]) }
    expect([...(await fresh(say('Hello'), empty))]).toEqual([...base])
    const context = backbone.createContext()
    context.useAdapter(adapter)
    const adapted = (await context.prefill(say('Hello'))).logits.slice()
    expect([...adapted]).not.toEqual([...base])
    context.useAdapter(undefined)
    const { logits, reusedTokens } = await context.prefill(say('Hello'))
    expect(reusedTokens).toBe(0)
    expect([...logits]).toEqual([...base])
    context.dispose()
  })

  test('places of different rank: the smaller is padded and says the same', async () => {
    const [small, large] = [lora(1, 3), lora(3, 5)]
    const onlySmall = await fresh(say('Hello'), { name: 's', lora: new Map([['layers.0/attn/qkv', small]]) })
    const silent: PackedLora = { ...large, b: new Float32Array(large.b.length) }
    const both = new Map([
      ['layers.0/attn/qkv', small],
      ['layers.1/attn/qkv', silent],
    ])
    const padded = await fresh(say('Hello'), { name: 'b', lora: both })
    expect(Math.max(...padded.map((value, i) => Math.abs(value - onlySmall[i]!)))).toBeLessThan(0.02)
  })

  test('an adapter that does not fit is refused, and the context keeps what it had', async () => {
    const context = backbone.createContext()
    const misfits: [AdapterTensors, string][] = [
      [{ name: 'a', lora: new Map([['layers.9/attn/qkv', lora(1, 1)]]) }, 'UNKNOWN_NAME'],
      [{ name: 'b', lora: new Map([['layers.0/attn/qkv', { ...lora(1, 1), rank: 2 }]]) }, 'SHAPE_MISMATCH'],
      [{ name: 'c', lora: new Map(), softPrompt: { tokens: 2, embeddings: new Float32Array(64) } }, 'SHAPE_MISMATCH'],
      [{ name: 'd', lora: new Map(), prefix: { tokens: 2, layers: [] } }, 'SHAPE_MISMATCH'],
      [
        { name: 'e', lora: new Map(), softPrompt: { tokens: 256, embeddings: new Float32Array(64 * 256) } },
        'SHAPE_MISMATCH',
      ],
    ]
    for (const [adapter, code] of misfits)
      expect(() => context.useAdapter(adapter)).toThrow(expect.objectContaining({ code }))
    const { logits } = await context.prefill(say('Hello'))
    expect([...logits]).toEqual([...(await fresh(say('Hello')))])
    context.dispose()
  })

  test('a soft prompt stands in front of every prompt', async () => {
    const front = [70, 71, 72]
    const softPrompt = { tokens: 3, embeddings: await backbone.embed(front) }
    const adapter: AdapterTensors = { name: 'soft', lora: new Map(), softPrompt }
    const expected = await fresh([{ ids: front }, ...say('Hello')])
    expect([...(await fresh(say('Hello'), adapter))]).toEqual([...expected])
    const context = backbone.createContext()
    context.useAdapter(adapter)
    await context.prefill(say('Hell'))
    const { logits, reusedTokens, promptTokens } = await context.prefill(say('Hello'))
    expect([reusedTokens, promptTokens]).toEqual([3, 6])
    expect([...logits]).toEqual([...expected])
    expect(() => context.assertFits(say('x'.repeat(240)), 13)).toThrow(/the adapter 3/)
    context.dispose()
  })

  test('a prefix takes places in the cache and changes what is said', async () => {
    const layers = [0, 1].map((layer) => ({ key: random(2 * 4 * 16, layer), value: random(2 * 4 * 16, layer + 9) }))
    const adapter: AdapterTensors = { name: 'prefix', lora: new Map(), prefix: { tokens: 4, layers } }
    const context = backbone.createContext()
    context.useAdapter(adapter)
    expect(context.length).toBe(4)
    const first = (await context.prefill(say('Hello'))).logits.slice()
    expect(context.length).toBe(10)
    expect([...first]).not.toEqual([...(await fresh(say('Hello')))])
    expect([...(await context.prefill(say('Hello'))).logits]).toEqual([...first])
    context.dispose()
  })

  test('label scores are the sums of log-probabilities of their tokens', async () => {
    const plan = planLabels(backbone.tokenizer, { shared: '', own: 'A:' }, ['yes', 'n'], { between: ' ', end: '\n' })
    const context = backbone.createContext()
    const { logProbabilities, scoredTokens } = await scoreLabels(context, plan)
    expect(scoredTokens).toBe(6)
    const all = ids('A: yes')
    const start = ids('A:').length
    let sum = 0
    context.rewind(0)
    await context.evaluateAll(all, (logits) => {
      for (let i = start; i < all.length; i++) sum += logProbability(logits, (i - 1) * 288, 288, all[i]!)
    })
    expect(logProbabilities[0]).toBeCloseTo(sum, 1)
    context.dispose()
  })

  test('perplexity of random weights is near the vocabulary, whatever the chunks', async () => {
    const windows = ['The quick brown fox', 'jumps over the lazy dog'].map(ids)
    const a = await perplexity(backbone, windows)
    const b = await perplexity(backbone, windows, { chunkTokens: 5 })
    expect(a.tokens).toBe(windows.flat().length - 2)
    expect(a.perplexity).toBeGreaterThan(100)
    expect(b.logProbability / a.logProbability).toBeCloseTo(1, 2)
    await expect(perplexity(backbone, [[1]])).rejects.toMatchObject({ code: 'EMPTY_INPUT' })
    await expect(perplexity(backbone, [new Array(300).fill(5)])).rejects.toMatchObject({ code: 'CONTEXT_OVERFLOW' })
  })
})
