/** Adapter files → packed tensors: against plain matrix products, and every way in which a file can be wrong. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { writeSafetensors } from '../checkpoint/index.js'
import { interleavedRow, sourceHeadRow } from '../core/heads.js'
import { randomSource } from '../core/random.js'
import { type HostTensor, hostTensor } from '../core/tensor.js'
import { type Abi, abiId } from '../firmware/manifest.js'
import { readLitLlamaLora, readPeftAdapter, usableAdapter } from './index.js'

/** 2 query heads and 1 key/value head of width 12, in a graph that pads them to 16. */
const FROM = 12
const TO = 16
const WIDTH = 24
const HIDDEN = 10
const facts = {
  layers: 2,
  width: WIDTH,
  vocabulary: 30,
  kvHeads: 1,
  headWidth: TO,
  sourceHeadWidth: FROM,
  sites: {
    qkv: {
      path: 'attn/qkv',
      in: WIDTH,
      parts: [
        { name: 'q', out: 2 * TO },
        { name: 'k', out: TO },
        { name: 'v', out: TO },
      ],
    },
    o: { path: 'attn/o', in: 2 * TO, parts: [{ name: 'o', out: WIDTH }] },
    down: { path: 'mlp/down', in: HIDDEN, parts: [{ name: 'down', out: WIDTH }] },
  },
}
const abi: Abi = { id: abiId(facts), ...facts }

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'm4-adapters-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const matrix = (seed: number, rows: number, columns: number): HostTensor => {
  const random = randomSource(seed)
  return hostTensor(
    'float32',
    [rows, columns],
    Float32Array.from({ length: rows * columns }, () => random() - 0.5),
  )
}

type Tensors = Record<string, HostTensor>
const CONFIG = { peft_type: 'LORA', r: 2, lora_alpha: 6, target_modules: ['q_proj'], bias: 'none' }

function write(tensors: Tensors, config: Record<string, unknown> = CONFIG): void {
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(config))
  writeFileSync(join(folder, 'adapter_model.safetensors'), writeSafetensors(tensors))
}

const key = (layer: number, module: string, half: 'A' | 'B', name = '') =>
  `base_model.model.model.layers.${layer}.${module}.lora_${half}.${name}weight`

const pair = (layer: number, module: string, rank: number, inner: number, out: number): Tensors => ({
  [key(layer, module, 'A')]: matrix(layer + rank, rank, inner),
  [key(layer, module, 'B')]: matrix(layer + rank + 50, out, rank),
})

/** scale · B·A in the checkpoint's layout, at (row, column). */
const delta = (tensors: Tensors, layer: number, module: string, scale: number, row: number, column: number) => {
  const a = tensors[key(layer, module, 'A')]!
  const b = tensors[key(layer, module, 'B')]!
  const [rank, inner] = a.dims as [number, number]
  let sum = 0
  for (let r = 0; r < rank; r++) sum += (b.data[row * rank + r] as number) * (a.data[r * inner + column] as number)
  return scale * sum
}

/** (A·B)ᵀ of a packed site, at (row of the output, input). */
const packedDelta = (
  { rank, a, b }: { rank: number; a: Float32Array; b: Float32Array },
  row: number,
  column: number,
) => {
  const out = b.length / rank
  let sum = 0
  for (let r = 0; r < rank; r++) sum += a[column * rank + r]! * b[r * out + row]!
  return sum
}

const codes = (findings: readonly { code: string }[]) => findings.map(({ code }) => code)

describe('PEFT LoRA', () => {
  test('packs q, k and v of different ranks beside each other, rotary heads apart', () => {
    const tensors = {
      ...pair(1, 'self_attn.q_proj', 2, WIDTH, 2 * FROM),
      ...pair(1, 'self_attn.k_proj', 4, WIDTH, FROM),
      ...pair(1, 'self_attn.v_proj', 2, WIDTH, FROM),
    }
    write(tensors, {
      ...CONFIG,
      target_modules: ['q_proj', 'k_proj', 'v_proj'],
      rank_pattern: { k_proj: 4 },
      alpha_pattern: { 'layers.1.self_attn.v_proj': 1 },
    })
    const read = readPeftAdapter(folder, abi)
    expect(read).toMatchObject({ findings: [], matched: 6, total: 6 })
    const packed = usableAdapter(read).lora.get('layers.1/attn/qkv')!
    expect(read.adapter.lora.size).toBe(1)
    expect(packed.rank).toBe(8)
    const parts = [
      { module: 'self_attn.q_proj', first: 0, rows: 2 * TO, rotary: true, scale: 3 },
      { module: 'self_attn.k_proj', first: 2 * TO, rows: TO, rotary: true, scale: 1.5 },
      { module: 'self_attn.v_proj', first: 3 * TO, rows: TO, rotary: false, scale: 0.5 },
    ]
    for (const { module, first, rows, rotary, scale } of parts)
      for (let row = 0; row < rows; row++)
        for (const column of [0, 7, WIDTH - 1]) {
          const source = sourceHeadRow(row, { from: FROM, to: TO, rotary })
          const expected = source < 0 ? 0 : delta(tensors, 1, module, scale, source, column)
          expect(packedDelta(packed, first + row, column)).toBeCloseTo(expected, 6)
        }
  })

  test('inputs of o are padded heads; down is plain; the adapter name in a key does not matter', () => {
    const tensors = {
      ...pair(0, 'self_attn.o_proj', 2, 2 * FROM, WIDTH),
      ...pair(0, 'mlp.down_proj', 2, HIDDEN, WIDTH),
    }
    const renamed = Object.fromEntries(
      Object.entries(tensors).map(([name, tensor]) => [name.replace('.weight', '.default.weight'), tensor]),
    )
    write(renamed, { ...CONFIG, target_modules: ['o_proj', 'down_proj'], use_rslora: true })
    const { adapter, findings } = readPeftAdapter(folder, abi)
    expect(findings).toEqual([])
    const scale = 6 / Math.sqrt(2)
    for (let row = 0; row < WIDTH; row += 5) {
      for (let column = 0; column < 2 * TO; column++) {
        const source = sourceHeadRow(column, { from: FROM, to: TO, rotary: false })
        const expected = source < 0 ? 0 : delta(tensors, 0, 'self_attn.o_proj', scale, row, source)
        expect(packedDelta(adapter.lora.get('layers.0/attn/o')!, row, column)).toBeCloseTo(expected, 6)
      }
      const expected = delta(tensors, 0, 'mlp.down_proj', scale, row, 3)
      expect(packedDelta(adapter.lora.get('layers.0/mlp/down')!, row, 3)).toBeCloseTo(expected, 6)
    }
  })

  test('everything that does not fit is told at once', () => {
    const good = pair(0, 'self_attn.q_proj', 2, WIDTH, 2 * FROM)
    const broken = matrix(9, 2, WIDTH)
    broken.data[3] = Number.NaN
    write(
      {
        ...good,
        ...pair(7, 'self_attn.q_proj', 2, WIDTH, 2 * FROM),
        ...pair(0, 'mlp.up_proj', 2, WIDTH, HIDDEN),
        ...pair(1, 'self_attn.q_proj', 2, WIDTH + 1, 2 * FROM),
        ...pair(1, 'self_attn.k_proj', 2, WIDTH, FROM + 1),
        ...pair(1, 'self_attn.v_proj', 3, WIDTH, FROM),
        [key(0, 'self_attn.k_proj', 'A')]: matrix(1, 2, WIDTH),
        [key(0, 'self_attn.v_proj', 'A')]: broken,
        [key(0, 'self_attn.v_proj', 'B')]: matrix(1, FROM, 2),
        'base_model.model.lm_head.weight': matrix(1, 2, 2),
      },
      { ...CONFIG, target_modules: ['q_proj', 'gate_proj'] },
    )
    const read = readPeftAdapter(folder, abi)
    expect(codes(read.findings).sort()).toEqual(
      [
        'incomplete-pair',
        'not-finite',
        'target-without-tensors',
        'unknown-site',
        'unknown-site',
        'unknown-tensor',
        'wrong-shape',
        'wrong-shape',
        'wrong-shape',
      ].sort(),
    )
    expect(read).toMatchObject({ matched: 2, total: 16 })
    expect([...read.adapter.lora.keys()]).toEqual(['layers.0/attn/qkv'])
    expect(() => usableAdapter(read)).toThrowError(expect.objectContaining({ code: 'FORMAT_INVALID' }))
  })

  test('B of zeros has no effect: in part a warning, in whole an error', () => {
    const zero = (layer: number): Tensors => ({
      ...pair(layer, 'self_attn.q_proj', 2, WIDTH, 2 * FROM),
      [key(layer, 'self_attn.q_proj', 'B')]: hostTensor('float32', [2 * FROM, 2]),
    })
    write({ ...zero(0), ...pair(1, 'self_attn.q_proj', 2, WIDTH, 2 * FROM) })
    const part = readPeftAdapter(folder, abi)
    expect(part.findings).toMatchObject([{ code: 'zero-place', severity: 'warning' }])
    expect(usableAdapter(part)).toBe(part.adapter)
    write({ ...zero(0), ...zero(1) })
    const whole = readPeftAdapter(folder, abi)
    expect(codes(whole.findings)).toEqual(['zero-place', 'zero-place', 'no-effect'])
    expect(() => usableAdapter(whole)).toThrowError(/the base model/)
  })

  test.each([
    { bias: 'all' },
    { use_dora: true },
    { fan_in_fan_out: true },
    { modules_to_save: ['lm_head'] },
    { peft_type: 'IA3' },
  ])('refuses %j', (odd) => {
    write(pair(0, 'self_attn.q_proj', 2, WIDTH, 2 * FROM), { ...CONFIG, ...odd })
    expect(() => readPeftAdapter(folder, abi)).toThrowError(expect.objectContaining({ code: 'FORMAT_UNSUPPORTED' }))
  })

  test('malformed files are errors', () => {
    const fails = (code: string) =>
      expect(() => readPeftAdapter(folder, abi)).toThrowError(expect.objectContaining({ code }))
    fails('FILE_NOT_FOUND')
    writeFileSync(join(folder, 'adapter_config.json'), '{')
    fails('FORMAT_INVALID')
    writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify({ ...CONFIG, r: 0 }))
    fails('FORMAT_INVALID')
    writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(CONFIG))
    fails('FILE_NOT_FOUND')
    writeFileSync(join(folder, 'adapter_model.bin'), 'not a checkpoint')
    fails('FORMAT_INVALID')
  })
})

describe('virtual tokens', () => {
  const prompt = { peft_type: 'PROMPT_TUNING', num_virtual_tokens: 3 }

  test('prompt tuning keeps the embeddings', () => {
    const embeddings = matrix(5, 3, WIDTH)
    write({ prompt_embeddings: embeddings }, prompt)
    const read = readPeftAdapter(folder, abi)
    expect(read).toMatchObject({ findings: [], matched: 1, total: 1 })
    expect(read.adapter.softPrompt).toEqual({ tokens: 3, embeddings: embeddings.data })
  })

  test('prefix tuning: key, value of layer 0, then of layer 1; keys laid out as rotary heads', () => {
    const rows = matrix(6, 3, 2 * 2 * FROM)
    write({ prompt_embeddings: rows }, { ...prompt, peft_type: 'PREFIX_TUNING' })
    const { adapter, findings } = readPeftAdapter(folder, abi)
    expect(findings).toEqual([])
    const { tokens, layers } = adapter.prefix!
    expect([tokens, layers.length]).toEqual([3, 2])
    for (const [l, kind, rotary] of [
      [0, 'key', true],
      [1, 'value', false],
    ] as const)
      for (let token = 0; token < 3; token++)
        for (let inside = 0; inside < TO; inside++) {
          const source = sourceHeadRow(inside, { from: FROM, to: TO, rotary })
          const column = (2 * l + (kind === 'key' ? 0 : 1)) * FROM + source
          const expected = source < 0 ? 0 : rows.data[token * 4 * FROM + column]
          expect(layers[l]![kind][token * TO + inside]).toBe(expected)
        }
  })

  test('another width, another count, zeros, a second tensor', () => {
    const findings = (tensors: Tensors) => {
      write(tensors, prompt)
      return codes(readPeftAdapter(folder, abi).findings)
    }
    expect(findings({ prompt_embeddings: matrix(1, 3, WIDTH + 1) })).toEqual(['wrong-shape'])
    expect(findings({ prompt_embeddings: matrix(1, 2, WIDTH) })).toEqual(['wrong-shape'])
    expect(findings({ prompt_embeddings: hostTensor('float32', [3, WIDTH]) })).toEqual(['no-effect'])
    expect(findings({ prompt_embeddings: matrix(1, 3, WIDTH), x: matrix(1, 1, 1) })).toEqual(['unknown-tensor'])
    write({ x: matrix(1, 1, 1) }, prompt)
    expect(() => readPeftAdapter(folder, abi)).toThrowError(expect.objectContaining({ code: 'FORMAT_INVALID' }))
  })
})

describe('lit-llama LoRA', () => {
  /** Full heads, as lit-llama has them. */
  const full: Abi = {
    ...abi,
    kvHeads: 2,
    sites: {
      qkv: { path: 'attn/qkv', in: WIDTH, parts: ['q', 'k', 'v'].map((name) => ({ name, out: 2 * TO })) },
    },
  }
  const save = (tensors: Tensors) => {
    const path = join(folder, 'lit-llama-lora.safetensors')
    writeFileSync(path, writeSafetensors(tensors))
    return path
  }
  const name = (half: 'A' | 'B') => `transformer.h.0.attn.c_attn.lora_${half}`

  test('grouped q and v, rotary pairs interleaved', () => {
    const [a, b] = [matrix(1, 6, WIDTH), matrix(2, 2 * 2 * FROM, 3)]
    const read = readLitLlamaLora(save({ [name('A')]: a, [name('B')]: b }), full, { alpha: 6 })
    expect(read).toMatchObject({ findings: [], matched: 2, total: 2 })
    const packed = read.adapter.lora.get('layers.0/attn/qkv')!
    expect(packed.rank).toBe(6)
    const expected = (part: 0 | 1, row: number, column: number) => {
      let sum = 0
      for (let r = 0; r < 3; r++)
        sum += (b.data[(part * 2 * FROM + row) * 3 + r] as number) * (a.data[(part * 3 + r) * WIDTH + column] as number)
      return 2 * sum
    }
    for (let row = 0; row < 2 * TO; row++) {
      const q = sourceHeadRow(row, { from: FROM, to: TO, rotary: true })
      const v = sourceHeadRow(row, { from: FROM, to: TO, rotary: false })
      expect(packedDelta(packed, row, 4)).toBeCloseTo(q < 0 ? 0 : expected(0, interleavedRow(q, FROM), 4), 6)
      expect(packedDelta(packed, 2 * TO + row, 4)).toBe(0)
      expect(packedDelta(packed, 4 * TO + row, 4)).toBeCloseTo(v < 0 ? 0 : expected(1, v, 4), 6)
    }
  })

  test('a file of other parts, and one with half a pair', () => {
    const pairOf = { [name('A')]: matrix(1, 6, WIDTH), [name('B')]: matrix(2, 3 * 2 * FROM, 2) }
    expect(readLitLlamaLora(save(pairOf), full, { enabled: [true, true, true] }).findings).toEqual([])
    expect(codes(readLitLlamaLora(save(pairOf), full).findings)).toContain('wrong-shape')
    const { findings } = readLitLlamaLora(save({ [name('A')]: matrix(1, 6, WIDTH) }), full)
    expect(codes(findings)).toEqual(['incomplete-pair', 'incomplete-pair', 'no-effect'])
    expect(() => readLitLlamaLora(save({ [name('A')]: matrix(1, 5, WIDTH) }), full)).toThrowError(
      expect.objectContaining({ code: 'FORMAT_INVALID' }),
    )
  })
})
