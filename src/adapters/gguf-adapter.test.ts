/** GGUF adapters: names, keys and rotary rows as llama.cpp has them, and back to the same PEFT folder. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { memorySource, openCheckpoint, openGguf } from '../checkpoint/index.js'
import { type HostTensor, hostTensor } from '../core/tensor.js'
import { readGgufAdapter, writeGgufAdapter } from './gguf-adapter.js'
import { type GgufValue, writeGguf } from './gguf-write.js'
import { readPeftAdapter } from './index.js'
import { baseOf, everyPart, part, random } from './testing/fixtures.js'
import { packTrained, type TrainedAdapter } from './trained.js'
import { writePeftFolder } from './write-peft.js'

const abi = baseOf(12, 16)
let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'm4-gguf-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const lora = (
  rsLora: boolean,
  ...parts: Extract<TrainedAdapter, { kind: 'lora' }>['parts'][number][]
): TrainedAdapter => ({
  kind: 'lora',
  rsLora,
  parts,
})
const code = (name: string) => expect.objectContaining({ code: name })
const full = lora(false, ...[0, 1, 2].flatMap((layer) => everyPart(abi, layer, 4, 8)))
const back = (bytes: Uint8Array, name = 'back') => {
  const files = readGgufAdapter(memorySource(bytes), abi)
  const path = mkdtempSync(join(folder, `${name}-`))
  for (const [file, content] of files) writeFileSync(join(path, file), content)
  return path
}

describe('writeGguf', () => {
  test('is read by the reader of checkpoints', () => {
    const values = new Map<string, GgufValue>([
      ['general.architecture', { type: 'string', value: 'llama' }],
      ['a.number', { type: 'uint32', value: 4_000_000_000 }],
      ['a.fraction', { type: 'float32', value: 0.25 }],
      ['a.truth', { type: 'bool', value: true }],
      ['ä', { type: 'string', value: '' }],
    ])
    const tensors = new Map<string, HostTensor>([
      ['a', hostTensor('float32', [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6))],
      ['b', hostTensor('float16', [3], Uint16Array.of(0x3c00, 0, 0xc000))],
    ])
    using file = openGguf(memorySource(writeGguf(values, tensors)))
    expect(file.metadata).toEqual(Object.fromEntries([...values].map(([key, { value }]) => [key, value])))
    expect(file.tensors.get('a')!.read()).toEqual(tensors.get('a'))
    expect([...file.tensors.get('b')!.float32()]).toEqual([1, 0, -2])
    expect(() => writeGguf(new Map(), new Map([['i', hostTensor('int8', [1])]]))).toThrow(code('FORMAT_UNSUPPORTED'))
  })
})

describe('as llama.cpp has it', () => {
  test('keys, names, shapes and the order of rotary rows', async () => {
    await writePeftFolder(join(folder, 'peft'), abi, full)
    using file = openGguf(memorySource(writeGgufAdapter(join(folder, 'peft'), abi, { name: 'news' })))
    expect(file.metadata).toEqual({
      'general.architecture': 'llama',
      'general.type': 'adapter',
      'general.name': 'news',
      'general.file_type': 0,
      'adapter.type': 'lora',
      'adapter.lora.alpha': 8,
    })
    expect([...file.tensors.keys()].filter((name) => name.startsWith('blk.0.')).sort()).toEqual(
      ['attn_k', 'attn_output', 'attn_q', 'attn_v', 'ffn_down', 'ffn_gate', 'ffn_up'].flatMap((name) => [
        `blk.0.${name}.weight.lora_a`,
        `blk.0.${name}.weight.lora_b`,
      ]),
    )
    using peft = openCheckpoint(join(folder, 'peft', 'adapter_model.safetensors'))
    const theirs = (module: string, half: string) =>
      peft.tensors.get(`base_model.model.model.layers.1.${module}.lora_${half}.weight`)!
    const ours = (name: string, half: string) => file.tensors.get(`blk.1.${name}.weight.lora_${half}`)!
    expect(ours('attn_q', 'a').read()).toEqual(theirs('self_attn.q_proj', 'A').read())
    expect(ours('attn_v', 'b').read()).toEqual(theirs('self_attn.v_proj', 'B').read())
    expect(ours('ffn_down', 'b').read()).toEqual(theirs('mlp.down_proj', 'B').read())
    // permute of convert_hf_to_gguf.py: reshape(heads, 2, D/2, r), swap axes 1 and 2, reshape back.
    for (const [name, module, heads] of [
      ['attn_q', 'self_attn.q_proj', 4],
      ['attn_k', 'self_attn.k_proj', 2],
    ] as const) {
      const source = theirs(module, 'B').float32()
      const [width, rank] = [12, 4]
      const permuted = new Float32Array(source.length)
      for (let head = 0; head < heads; head++)
        for (let half = 0; half < 2; half++)
          for (let pair = 0; pair < width / 2; pair++)
            for (let r = 0; r < rank; r++)
              permuted[((head * (width / 2) + pair) * 2 + half) * rank + r] =
                source[((head * 2 + half) * (width / 2) + pair) * rank + r]!
      expect(ours(name, 'b').float32()).toEqual(permuted)
      expect(permuted).not.toEqual(source)
    }
  })

  test('back to PEFT, the same files', async () => {
    await writePeftFolder(join(folder, 'peft'), abi, full)
    const path = back(writeGgufAdapter(join(folder, 'peft'), abi))
    for (const file of ['adapter_config.json', 'adapter_model.safetensors'])
      expect(readFileSync(join(path, file))).toEqual(readFileSync(join(folder, 'peft', file)))
  })

  test.each([false, true])('scales that differ go into B, rsLoRA %s', async (rsLora) => {
    const odd = lora(
      rsLora,
      part(abi, 0, 'qkv', 'q', 4, 8),
      part(abi, 0, 'qkv', 'v', 2, 12),
      part(abi, 1, 'o', 'o', 8, 3),
    )
    await writePeftFolder(join(folder, 'odd'), abi, odd)
    const read = readPeftAdapter(back(writeGgufAdapter(join(folder, 'odd'), abi), 'odd'), abi)
    expect(read.findings).toEqual([])
    const expected = packTrained(abi, 'odd', odd).lora
    expect([...read.adapter.lora.keys()]).toEqual([...expected.keys()])
    for (const [place, { a, b }] of read.adapter.lora) {
      expect(a).toEqual(expected.get(place)!.a)
      for (const [i, value] of b.entries()) expect(value).toBeCloseTo(expected.get(place)!.b[i]!, 5)
    }
  })

  test('float16 and alpha 0, which llama.cpp takes as scale 1', async () => {
    await writePeftFolder(join(folder, 'peft'), abi, full)
    const half = writeGgufAdapter(join(folder, 'peft'), abi, { dtype: 'float16' })
    using file = openGguf(memorySource(half))
    expect(file.tensors.get('blk.0.attn_q.weight.lora_a')!.storage).toBe('F16')
    const tensors = new Map([
      ['blk.0.attn_v.weight.lora_a', hostTensor('float32', [2, 24], random(1, 48))],
      ['blk.0.attn_v.weight.lora_b', hostTensor('float32', [24, 2], random(2, 48))],
    ])
    const config = readFileSync(join(back(writeGguf(keys({ alpha: 0 }), tensors)), 'adapter_config.json'), 'utf8')
    expect(JSON.parse(config)).toMatchObject({ r: 2, lora_alpha: 2 })
  })
})

const keys = ({ alpha = 4, type = 'adapter', kind = 'lora', architecture = 'llama' } = {}) =>
  new Map<string, GgufValue>([
    ['general.architecture', { type: 'string', value: architecture }],
    ['general.type', { type: 'string', value: type }],
    ['adapter.type', { type: 'string', value: kind }],
    ['adapter.lora.alpha', { type: 'float32', value: alpha }],
  ])

describe('refusals', () => {
  const a = hostTensor('float32', [2, 24], random(1, 48))
  const b = hostTensor('float32', [24, 2], random(2, 48))
  const name = 'blk.0.attn_v.weight'
  const good = { [`${name}.lora_a`]: a, [`${name}.lora_b`]: b }
  const read =
    (tensors: object, metadata = keys()) =>
    () =>
      readGgufAdapter(memorySource(writeGguf(metadata, new Map(Object.entries(tensors)))), abi)

  test.each([
    ['a model', read(good, keys({ type: 'model' })), 'FORMAT_UNSUPPORTED', /general\.type/],
    ['a control vector', read(good, keys({ kind: 'control' })), 'FORMAT_UNSUPPORTED', /adapter\.type/],
    ['another architecture', read(good, keys({ architecture: 'gemma2' })), 'FORMAT_UNSUPPORTED', /gemma2/],
    ['no alpha', read(good, new Map([...keys()].slice(0, 3))), 'FORMAT_INVALID', /alpha is undefined/],
    ['no tensors', read({}), 'FORMAT_INVALID', /no tensors/],
    ['half a pair', read({ [`${name}.lora_a`]: a }), 'FORMAT_INVALID', /no other half/],
    ['an embedding', read({ ...good, 'token_embd.weight.lora_a': a }), 'FORMAT_INVALID', /token_embd/],
    [
      'ranks that differ',
      read({ ...good, [`${name}.lora_b`]: hostTensor('float32', [16, 3]) }),
      'FORMAT_INVALID',
      /other half/,
    ],
    ['another base', read({ ...good, [`${name}.lora_a`]: hostTensor('float32', [2, 32]) }), 'SHAPE_MISMATCH', /v_proj/],
    [
      'a layer too many',
      read({ 'blk.3.attn_v.weight.lora_a': a, 'blk.3.attn_v.weight.lora_b': b }),
      'SHAPE_MISMATCH',
      /3 layers/,
    ],
    [
      'NaN',
      read({ ...good, [`${name}.lora_a`]: hostTensor('float32', [2, 24], new Float32Array(48).fill(Number.NaN)) }),
      'FORMAT_INVALID',
      /finite/,
    ],
  ])('%s', (_, attempt, errorCode, message) => {
    expect(attempt).toThrow(expect.objectContaining({ code: errorCode, message: expect.stringMatching(message) }))
  })

  test('an adapter of another base, of no effect, or no LoRA is not converted', async () => {
    await writePeftFolder(join(folder, 'peft'), baseOf(16, 16), lora(false, part(baseOf(16, 16), 0, 'qkv', 'q', 2, 4)))
    expect(() => writeGgufAdapter(join(folder, 'peft'), abi)).toThrow(code('SHAPE_MISMATCH'))
    const idle = { ...part(abi, 0, 'qkv', 'q', 2, 4), b: new Float32Array(2 * 64) }
    await writePeftFolder(join(folder, 'idle'), abi, lora(false, idle))
    expect(() => writeGgufAdapter(join(folder, 'idle'), abi)).toThrow(/every pair is zero/)
    await writePeftFolder(join(folder, 'prompt'), abi, { kind: 'prompt', tokens: 1, embeddings: random(1, 24) })
    expect(() => writeGgufAdapter(join(folder, 'prompt'), abi)).toThrow(code('FORMAT_UNSUPPORTED'))
  })
})
