/** Fuyu at run time: a picture among the tokens of its backbone, against greedy decoding in float64 over the same weights. */

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writeSafetensors } from '../src/checkpoint/index.js'
import { liveHandles } from '../src/core/disposal.js'
import { sha256Hex } from '../src/core/hash.js'
import { randomSource } from '../src/core/random.js'
import { hostTensor } from '../src/core/tensor.js'
import { buildFirmware, type Recipe } from '../src/firmware/index.js'
import { encodePng, type Picture } from '../src/media/index.js'
import { createModules, type DescribeRequest, type Firmware, openFirmware } from '../src/runtime/index.js'
import { patchQuestionIds, placePicture } from '../src/runtime/patches.js'
import { tinyTokenizer } from '../src/tokenizers/index.js'
import { FUYU_TOY, FUYU_TOY_CONFIG, fuyuCheckpoint, fuyuReference } from './helpers/fuyu-reference.js'

/** The bytes, and Fuyu's own names behind them. */
const IDS = { start: 1, patch: 259, rowEnd: 260, answer: 261, end: 262 } as const
const VOCABULARY = 264
const CONTEXT = 96

function tokenizerJson() {
  const json = tinyTokenizer()
  const names = Object.entries({
    '|SPEAKER|': IDS.patch,
    '|NEWLINE|': IDS.rowEnd,
    '<0x04>': IDS.answer,
    '|ENDOFTEXT|': IDS.end,
  })
  const { special, ...like } = json.added_tokens[0]!
  return {
    ...json,
    added_tokens: [...json.added_tokens, ...names.map(([content, id]) => ({ ...like, special, content, id }))],
  }
}

const tensors = fuyuCheckpoint(VOCABULARY)
const reference = fuyuReference(tensors)

const noise = (width: number, height: number, seed = 1): Picture => {
  const uniform = randomSource(seed)
  return { data: Uint8Array.from({ length: width * height * 3 }, () => Math.floor(uniform() * 256)), width, height }
}

let folder: string
let firmware: Firmware

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'm4-fuyu-'))
  const file = async (name: string, bytes: Uint8Array) => {
    const path = join(folder, name)
    await writeFile(path, bytes)
    return { uris: [`file:${path}`], sha256: sha256Hex(bytes), bytes: bytes.length, licence: 'CC0-1.0' }
  }
  const all = [...tensors].map(
    ([name, { dims, data }]) => [name, hostTensor('float32', dims, data as Float32Array<ArrayBuffer>)] as const,
  )
  const recipe: Recipe = {
    name: 'toy-fuyu',
    version: '0.1.0',
    rollbackIndex: 1,
    about: 'A toy.',
    modules: {
      backbone: {
        architecture: 'persimmon',
        title: 'toy Fuyu',
        weights: await file('fuyu.safetensors', writeSafetensors(new Map(all))),
        config: { ...FUYU_TOY_CONFIG, max_position_embeddings: CONTEXT },
        quantisations: { fp32: { default: 'fp32' } },
        tokenizer: {
          from: 'file',
          source: await file('tokenizer.json', new TextEncoder().encode(JSON.stringify(tokenizerJson()))),
        },
      },
    },
  }
  const { path } = await buildFirmware(recipe, { home: folder, out: join(folder, 'image'), offline: true })
  firmware = await openFirmware(path)
})
afterAll(async () => {
  firmware.dispose()
  expect(liveHandles()).toEqual({})
  await rm(folder, { recursive: true, force: true })
})

/** Embeddings of the whole prompt. */
function promptOf(picture: Picture, question: string): number[][] {
  const [rows, columns] = [picture.height, picture.width].map((dots) => Math.ceil(dots / FUYU_TOY.patchSide)) as [
    number,
    number,
  ]
  const patches = reference.patches(picture)
  const [rowEnd] = reference.embeddings([IDS.rowEnd])
  const seen = Array.from({ length: rows }, (_, row) => [
    ...patches.slice(row * columns, (row + 1) * columns),
    rowEnd!,
  ]).flat()
  const bytes = Array.from(new TextEncoder().encode(`${question}\n`), (byte) => 3 + byte)
  const asked = [IDS.start, ...bytes, IDS.answer]
  return [...seen, ...reference.embeddings(asked)]
}

/** Ids of the best continuation, and how far the second was behind at its nearest. */
function greedy(picture: Picture, question: string, steps: number) {
  const prompt = promptOf(picture, question)
  const ids: number[] = []
  let margin = Number.POSITIVE_INFINITY
  for (let step = 0; step < steps; step++) {
    const logits = reference.logits([...prompt, ...reference.embeddings(ids)]).at(-1)!
    const order = logits.map((_, id) => id).sort((a, b) => logits[b]! - logits[a]!)
    margin = Math.min(margin, logits[order[0]!]! - logits[order[1]!]!)
    ids.push(order[0]!)
  }
  return { ids, margin, promptTokens: prompt.length }
}

async function streamed(request: Omit<DescribeRequest, 'task'>) {
  const ids: number[] = []
  for await (const event of firmware.run({ task: 'describe', ...request })) {
    if (event.type === 'token') ids.push(event.id)
    if (event.type === 'answer') return { ids, ...event }
  }
  throw new Error('there was no answer')
}

describe('a picture and a question', () => {
  test('the image says that it describes, without an encoder', () => {
    expect(firmware.tasks()).toContain('describe')
    expect(firmware.manifest.modules.backbone!.config).toMatchObject({
      patchSide: 3,
      largestWidth: 1920,
      largestHeight: 1080,
      bosId: IDS.start,
      patchId: IDS.patch,
      rowEndId: IDS.rowEnd,
      answerId: IDS.answer,
      eosIds: [IDS.end, 2],
    })
  })

  test.each([
    [9, 6, 1],
    [7, 5, 2],
    [1, 1, 3],
    [13, 2, 4],
    [2, 16, 5],
  ])('%i × %i dots: the tokens of the float64 reference, the backbone alone awake', async (width, height, seed) => {
    const picture = noise(width, height, seed)
    const question = 'What is it?'
    const wanted = greedy(picture, question, 6)
    expect(wanted.margin).toBeGreaterThan(1e-3)
    const item = seed % 2 ? picture : { file: await encodePng(picture) }
    const { ids, output, report } = await streamed({ items: [{ picture: item }], question, maxTokens: 6 })
    const end = wanted.ids.findIndex((id) => id === IDS.end || id === 2)
    expect(ids).toEqual(end < 0 ? wanted.ids : wanted.ids.slice(0, end))
    expect(output.finishReason).toBe(end < 0 ? 'length' : 'eos')
    expect(report.path).toBe(1)
    expect(report.modules.map(({ role }) => role)).toEqual(['backbone'])
    expect(report.stages.map(({ name }) => name)).toEqual(expect.arrayContaining(['patches', 'prefill', 'decode']))
    expect(report.tokens.prompt).toBe(wanted.promptTokens)
  })

  test.each([
    [7, 5],
    [20, 4],
  ])('%i × %i dots: logits of the prompt within 1e-3, borders included', async (width, height) => {
    const picture = noise(width, height, 7)
    const modules = createModules(firmware.image, firmware.engine)
    const { module, leave } = await modules.use('backbone')
    try {
      const { facts } = module.patches!
      const placed = placePicture(picture, facts)
      const ids = patchQuestionIds(module.tokenizer, module.facts.bosId, 'Why?', facts)
      const { logits } = await module.context.prefill([{ embeddings: await module.see(placed) }, { ids }])
      const wanted = reference.logits(promptOf(picture, 'Why?')).at(-1)!
      expect(Math.max(...wanted.map((value, i) => Math.abs(value - logits[i]!)))).toBeLessThan(1e-3)
    } finally {
      leave()
      modules.close()
    }
  })

  test('what is seen matters, and what was seen before does not', async () => {
    const ask = async (seed: number) =>
      (await streamed({ items: [{ picture: noise(8, 8, seed) }], question: 'Q', maxTokens: 8 })).ids
    const [first, second, again] = [await ask(1), await ask(2), await ask(1)]
    expect(second).not.toEqual(first)
    expect(again).toEqual(first)
  })
})

test('where patches go: shrunk to 1920 × 1080, a row end behind each row', () => {
  const facts = { patchSide: 30, largestWidth: 1920, largestHeight: 1080, patchId: 5, rowEndId: 6, answerId: undefined }
  const sizes = (width: number, height: number) => {
    const { picture, ids } = placePicture({ data: new Uint8Array(3 * width * height), width, height }, facts)
    return [picture.width, picture.height, ids.length, ids.filter((id) => id === 6).length]
  }
  expect(sizes(1920, 1080)).toEqual([1920, 1080, 36 * 65, 36])
  expect(sizes(2000, 100)).toEqual([1920, 96, 4 * 65, 4])
  expect(sizes(31, 30)).toEqual([31, 30, 3, 1])
  expect(placePicture(noise(61, 31), facts).ids).toEqual([5, 5, 5, 6, 5, 5, 5, 6])
  const tokenizer = { encode: (text: string) => Array.from(text, (_, i) => i) } as never
  expect(patchQuestionIds(tokenizer, undefined, 'a\n', facts)).toEqual([0, 1])
})

describe('bad input', () => {
  const picture = noise(6, 6)

  test.each<[string, Omit<DescribeRequest, 'task'>, string]>([
    ['more patches than the context holds', { items: [{ picture: noise(30, 30) }] }, 'CONTEXT_OVERFLOW'],
    ['no place for the answer', { items: [{ picture }], maxTokens: CONTEXT - 8 }, 'CONTEXT_OVERFLOW'],
    ['no picture', { items: [{ picture: { file: Uint8Array.of(1, 2, 3) } }] }, 'PICTURE_INVALID'],
    ['an empty file', { items: [{ picture: { file: new Uint8Array(0) } }] }, 'PICTURE_INVALID'],
    ['a size that is not its data', { items: [{ picture: { ...picture, width: 7 } }] }, 'INVALID_REQUEST'],
    ['a text', { items: ['x'] }, 'INVALID_REQUEST'],
    ['two pictures', { items: [{ picture }, { picture }] }, 'INVALID_REQUEST'],
    ['a conversation', { items: [{ picture }], history: [{ question: 'a', answer: 'b' }] }, 'INVALID_REQUEST'],
    ['no question', { items: [{ picture }], question: ' ' }, 'EMPTY_INPUT'],
    [
      'a sound',
      { items: [{ sound: { samples: new Float32Array(16_000).fill(0.1), sampleRateHz: 16_000 } }] },
      'NOT_AVAILABLE',
    ],
  ])('%s', async (_, request, code) => {
    await expect(firmware.ask({ task: 'describe', ...request })).rejects.toMatchObject({ code })
  })

  test('and the next question is answered', async () => {
    const { output } = await streamed({ items: [{ picture }], question: 'Q', maxTokens: 2 })
    expect(output.finishReason).toMatch(/length|eos/)
  })
})
