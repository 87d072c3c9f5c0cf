/** Trained tensors → PEFT folder → tensors again: the same adapter, padded heads and odd ranks included. */

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { goldenPath } from '../../test/helpers/checkpoint-files.js'
import { openCheckpoint } from '../checkpoint/index.js'
import { sourceHeadRow } from '../core/heads.js'
import { type Abi, abiId } from '../firmware/manifest.js'
import { readPeftAdapter, usableAdapter } from './index.js'
import { packHeads, packSite, partPadding, unpackHeads, unpackPart } from './places.js'
import { baseOf, everyPart, part, random } from './testing/fixtures.js'
import { packTrained, type TrainedAdapter, type TrainedPart } from './trained.js'
import { peftFiles, writePeftFolder } from './write-peft.js'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'm4-peft-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const configOf = (path: string) => JSON.parse(readFileSync(join(path, 'adapter_config.json'), 'utf8'))
const code = (name: string) => expect.objectContaining({ code: name })
const BASES = [
  ['heads as they are', baseOf(16, 16)],
  ['padded heads', baseOf(12, 16)],
] as const

describe.each(BASES)('%s', (_, abi) => {
  test('unpackPart is the inverse of packSite, in both rotary orders', () => {
    for (const order of ['half', 'interleaved'] as const)
      for (const trained of everyPart(abi, 0, 3, 6)) {
        const { a, b } = unpackPart(abi, trained, trained, order)
        const packed = packSite(abi, trained.site, new Map([[trained.part, { rank: 3, a, b, scale: 1 }]]), order)
        const alone = packTrained(abi, 'x', { kind: 'lora', rsLora: false, parts: [{ ...trained, alpha: 3 }] })
        const expected = alone.lora.get(`layers.0/${abi.sites[trained.site]!.path}`)!
        expect(packed).toEqual(expected)
      }
  })

  test('unpackHeads is the inverse of packHeads', () => {
    const { kvHeads, sourceHeadWidth: width } = abi
    const rows = random(3, 5 * kvHeads * width)
    for (const kind of ['key', 'value'] as const) {
      const packed = packHeads(abi, 5, kind, (token, head, inside) => rows[(token * kvHeads + head) * width + inside]!)
      expect(unpackHeads(abi, 5, kind, packed)).toEqual(rows)
    }
  })

  test('LoRA of every part comes back bit for bit', async () => {
    const trained: TrainedAdapter = {
      kind: 'lora',
      rsLora: false,
      parts: [0, 1, 2].flatMap((layer) => everyPart(abi, layer, 4, 8)),
    }
    const path = join(folder, 'a')
    await writePeftFolder(path, abi, trained, { base: 'someone/base' })
    const read = readPeftAdapter(path, abi)
    expect(read).toMatchObject({ findings: [], matched: 42, total: 42 })
    expect(usableAdapter(read)).toEqual(packTrained(abi, 'a', trained))
    expect(configOf(path)).toMatchObject({
      peft_type: 'LORA',
      task_type: 'CAUSAL_LM',
      inference_mode: true,
      base_model_name_or_path: 'someone/base',
      r: 4,
      lora_alpha: 8,
      lora_dropout: 0,
      bias: 'none',
      fan_in_fan_out: false,
      use_rslora: false,
      rank_pattern: {},
      alpha_pattern: {},
      target_modules: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'],
    })
    expect(readdirSync(folder)).toEqual(['a'])
  })

  test.each([false, true])('ranks and alphas of their own, rsLoRA %s', async (rsLora) => {
    const trained: TrainedAdapter = {
      kind: 'lora',
      rsLora,
      parts: [
        ...[0, 1, 2].map((layer) => part(abi, layer, 'qkv', 'q', 4, 8)),
        ...[0, 1, 2].map((layer) => part(abi, layer, 'qkv', 'v', 2, 8)),
        part(abi, 0, 'o', 'o', 4, 8),
        part(abi, 1, 'o', 'o', 8, 5),
        part(abi, 2, 'down', 'down', 4, 3),
      ],
    }
    const path = join(folder, 'odd')
    await writePeftFolder(path, abi, trained)
    expect(configOf(path)).toMatchObject({
      r: 4,
      lora_alpha: 8,
      use_rslora: rsLora,
      target_modules: [
        'q_proj',
        'v_proj',
        'layers.0.self_attn.o_proj',
        'layers.1.self_attn.o_proj',
        'layers.2.mlp.down_proj',
      ],
      rank_pattern: { v_proj: 2, 'layers.1.self_attn.o_proj': 8, down_proj: 4 },
      alpha_pattern: { v_proj: 8, 'layers.1.self_attn.o_proj': 5, down_proj: 3 },
    })
    const read = readPeftAdapter(path, abi)
    expect(read.findings).toEqual([])
    expect(read.adapter).toEqual(packTrained(abi, 'odd', trained))
  })

  test('prompt and prefix', async () => {
    const prompt: TrainedAdapter = { kind: 'prompt', tokens: 3, embeddings: random(1, 3 * abi.width) }
    await writePeftFolder(join(folder, 'prompt'), abi, prompt)
    expect(readPeftAdapter(join(folder, 'prompt'), abi)).toMatchObject({
      findings: [],
      adapter: packTrained(abi, 'prompt', prompt),
    })
    const heads = (kind: 'key' | 'value', seed: number) => {
      const values = random(seed, 1000)
      return packHeads(abi, 3, kind, (token, head, inside) => values[token * 100 + head * 50 + inside]!)
    }
    const prefix: TrainedAdapter = {
      kind: 'prefix',
      tokens: 3,
      layers: [0, 1, 2].map((l) => ({ key: heads('key', l), value: heads('value', l + 9) })),
    }
    await writePeftFolder(join(folder, 'prefix'), abi, prefix)
    expect(readPeftAdapter(join(folder, 'prefix'), abi)).toMatchObject({
      findings: [],
      adapter: packTrained(abi, 'prefix', prefix),
    })
    expect(configOf(join(folder, 'prefix'))).toMatchObject({
      num_virtual_tokens: 3,
      num_layers: 3,
      token_dim: 2 * abi.sourceHeadWidth,
      num_attention_heads: 2,
      prefix_projection: false,
    })
  })
})

describe('what is refused', () => {
  const abi = baseOf(12, 16)
  const good = part(abi, 0, 'qkv', 'q', 2, 4)
  const lora = (...parts: TrainedPart[]): TrainedAdapter => ({ kind: 'lora', rsLora: false, parts })
  const nan = Float32Array.from(good.a)
  nan[7] = Number.NaN
  const huge = Float32Array.from(good.a, (value) => value * 1e6)
  const learned = Float32Array.from(good.b)
  learned[partPadding(abi, { site: 'qkv', part: 'q' }).outputs.indexOf(1)] = 0.25

  test.each([
    ['no part', lora(), 'INVALID_REQUEST', /nothing to store/],
    ['one place twice', lora(good, good), 'INVALID_REQUEST', /two pairs/],
    ['NaN', lora({ ...good, a: nan }), 'INVALID_REQUEST', /element 7 is NaN/],
    ['values in the padding', lora({ ...good, b: learned }), 'INVALID_REQUEST', /padding of heads/],
    ['a layer that is not there', lora({ ...good, layer: 3 }), 'SHAPE_MISMATCH', /3 layers/],
    ['a site that is not there', lora({ ...good, site: 'router' }), 'SHAPE_MISMATCH', /sites qkv, o/],
    ['another width', lora({ ...good, a: good.a.slice(2) }), 'SHAPE_MISMATCH', /A \[24, 2\]/],
    ['rank 0', lora({ ...good, rank: 0 }), 'SHAPE_MISMATCH', /rank/],
    [
      'a prompt of another width',
      { kind: 'prompt', tokens: 2, embeddings: random(1, 47) },
      'SHAPE_MISMATCH',
      /\[2, 24\]/,
    ],
    ['a prefix without its last layer', { kind: 'prefix', tokens: 2, layers: [] }, 'SHAPE_MISMATCH', /3 layers/],
  ] as [string, TrainedAdapter, string, RegExp][])('%s', (_, trained, errorCode, message) => {
    expect(() => peftFiles(abi, trained)).toThrow(
      expect.objectContaining({ code: errorCode, message: expect.stringMatching(message) }),
    )
  })

  test('float16: halves the file, is near, and refuses what it cannot hold', () => {
    const size = (dtype: 'float32' | 'float16') =>
      peftFiles(abi, lora(part(abi, 0, 'down', 'down', 64, 64)), { dtype }).get('adapter_model.safetensors')!.length
    expect(size('float16')).toBeLessThan(0.6 * size('float32'))
    expect(() => peftFiles(abi, lora({ ...good, a: huge }), { dtype: 'float16' })).toThrow(code('INVALID_REQUEST'))
    const tiny = { ...good, b: Float32Array.from(good.b, (value) => value * 1e-9) }
    expect(() => peftFiles(abi, lora(tiny), { dtype: 'float16' })).toThrow(/float16/)
    for (const [name, bytes] of peftFiles(abi, lora(good), { dtype: 'float16' }))
      writeFileSync(join(folder, name), bytes)
    const { a } = readPeftAdapter(folder, abi).adapter.lora.get('layers.0/attn/qkv')!
    expect(Math.max(...a.map((value, i) => Math.abs(value - good.a[i]!)))).toBeLessThan(2 ** -12)
    expect(a).not.toEqual(good.a)
  })

  test('a folder of something else is not written over; a full disk leaves what was there', async () => {
    writeFileSync(join(folder, 'thesis.txt'), 'years of work')
    await expect(writePeftFolder(folder, abi, lora(good))).rejects.toThrow(code('INVALID_REQUEST'))
    const path = join(folder, 'a')
    await writePeftFolder(path, abi, lora(good))
    const before = readFileSync(join(path, 'adapter_model.safetensors'))
    const full = () => Promise.reject(Object.assign(new Error('no space'), { code: 'ENOSPC' }))
    await expect(writePeftFolder(path, abi, lora(part(abi, 1, 'o', 'o', 2, 4)), { write: full })).rejects.toThrow(
      code('DISK_FULL'),
    )
    expect(readFileSync(join(path, 'adapter_model.safetensors'))).toEqual(before)
    expect(readdirSync(folder).sort()).toEqual(['a', 'thesis.txt'])
  })
})

/** Folders that PEFT 0.5.0 wrote: read, turned to the graph's layout, written again — the same names, shapes and bits. */
describe('as Hugging Face PEFT writes', () => {
  const GOLDENS = [
    'llama-peft-lora-qv',
    'llama-peft-lora-qkvo',
    'train-llama-lora',
    'train-llama-prompt',
    'train-llama-prefix',
  ]
  test.each(
    GOLDENS.map((name) => [name, goldenPath(name)] as const).filter(([, path]) => path && existsSync(path)),
  )('%s', (_, path) => {
    const {
      num_attention_heads: heads,
      num_key_value_heads: kvHeads = heads,
      hidden_size: width,
      num_hidden_layers,
    } = JSON.parse(readFileSync(join(path!, 'config.json'), 'utf8'))
    const from = width / heads
    const to = Math.ceil(from / 16) * 16
    const parts = (names: string[], out: number[]) => names.map((name, i) => ({ name, out: out[i]! }))
    const sites = {
      qkv: { path: 'attn/qkv', in: width, parts: parts(['q', 'k', 'v'], [heads * to, kvHeads * to, kvHeads * to]) },
      o: { path: 'attn/o', in: heads * to, parts: parts(['o'], [width]) },
    }
    const sizes = { layers: num_hidden_layers, width, vocabulary: 97, kvHeads, headWidth: to, sourceHeadWidth: from }
    const abi: Abi = { id: abiId({ ...sizes, sites }), ...sizes, sites }
    using theirs = openCheckpoint(join(path!, 'adapter_model.safetensors'))
    const config = configOf(path!)
    const trained = trainedFrom(abi, config, (name) => theirs.tensors.get(name)?.float32(), [...theirs.tensors.keys()])
    for (const [name, bytes] of peftFiles(abi, trained)) writeFileSync(join(folder, name), bytes)
    using ours = openCheckpoint(join(folder, 'adapter_model.safetensors'))
    expect([...ours.tensors.keys()].sort()).toEqual([...theirs.tensors.keys()].sort())
    for (const [name, tensor] of theirs.tensors) {
      expect(ours.tensors.get(name)!.dims).toEqual(tensor.dims)
      expect(ours.tensors.get(name)!.bytes()).toEqual(tensor.bytes())
    }
    const written = configOf(folder)
    for (const key of Object.keys(config).filter((known) => known in written))
      if (!['base_model_name_or_path', 'lora_dropout', 'num_attention_heads', 'target_modules'].includes(key))
        expect([key, written[key]]).toEqual([key, config[key]])
    if (config.target_modules) expect([...written.target_modules].sort()).toEqual([...config.target_modules].sort())
  })
})

/** The graph's tensors, by the rules of core/heads alone, so that the writer is not checked against itself. */
function trainedFrom(
  abi: Abi,
  config: { peft_type: string; r: number; lora_alpha: number; num_virtual_tokens: number },
  tensor: (name: string) => Float32Array | undefined,
  names: readonly string[],
): TrainedAdapter {
  const { sourceHeadWidth: from, headWidth: to } = abi
  const tokens = config.num_virtual_tokens
  const rows = tensor('prompt_embeddings')!
  if (config.peft_type === 'PROMPT_TUNING') return { kind: 'prompt', tokens, embeddings: rows }
  if (config.peft_type === 'PREFIX_TUNING') {
    const heads = (index: number, rotary: boolean) =>
      Float32Array.from({ length: abi.kvHeads * tokens * to }, (_, i) => {
        const [head, token] = [Math.floor(i / (tokens * to)), Math.floor(i / to) % tokens]
        const source = sourceHeadRow(i % to, { from, to, rotary })
        const column = (index * abi.kvHeads + head) * from + source
        return source < 0 ? 0 : rows[token * 2 * abi.layers * abi.kvHeads * from + column]!
      })
    const layers = Array.from({ length: abi.layers }, (_, l) => ({
      key: heads(2 * l, true),
      value: heads(2 * l + 1, false),
    }))
    return { kind: 'prefix', tokens, layers }
  }
  const parts = names
    .filter((name) => name.includes('lora_A'))
    .map((name): TrainedPart => {
      const [, layer, letter] = /layers\.(\d+)\.self_attn\.(.)_proj/.exec(name)!
      const part = letter as TrainedPart['part']
      const [theirA, theirB] = [tensor(name)!, tensor(name.replace('lora_A', 'lora_B'))!]
      const { r: rank, lora_alpha: alpha } = config
      const site = part === 'o' ? 'o' : 'qkv'
      const inner = abi.sites[site]!.in
      const out = abi.sites[site]!.parts.find((known) => known.name === part)!.out
      const sourceInner = theirA.length / rank
      const row = (i: number, heads: boolean, rotary: boolean) => (heads ? sourceHeadRow(i, { from, to, rotary }) : i)
      const a = Float32Array.from({ length: inner * rank }, (_, i) => {
        const source = row(Math.floor(i / rank), part === 'o', false)
        return source < 0 ? 0 : theirA[(i % rank) * sourceInner + source]!
      })
      const b = Float32Array.from({ length: rank * out }, (_, i) => {
        const source = row(i % out, part !== 'o', part !== 'v')
        return source < 0 ? 0 : theirB[source * rank + Math.floor(i / out)]!
      })
      return { layer: Number(layer), site, part, rank, alpha, a, b }
    })
  return { kind: 'lora', rsLora: false, parts }
}
