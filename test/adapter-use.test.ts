/** Adapters on `tiny-random`, as processes: converted, merged, and answering in `run` and `chat`. */

import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { type AdapterTensors, packTrained, type TrainedAdapter } from '../src/adapters/index.js'
import { openCheckpoint, writeSafetensors } from '../src/checkpoint/index.js'
import { unpackLora } from '../src/cli/packed-lora.js'
import { hostTensor } from '../src/core/index.js'
import { both, type ErrorJson, LABELS, OTHER_BASE, type RunJson, useAdapterHome } from './helpers/adapter-home.js'
import { runCli } from './helpers/cli.js'

const on = useAdapterHome()
const { at, m4fm, ask, packageAt, tensorsOf, onOtherImage } = on
const expectSame = (found: AdapterTensors, wanted: AdapterTensors) => expect(found.lora).toEqual(wanted.lora)

describe('other forms', () => {
  const convert = (from: string, to: string, out: string, ...words: string[]) =>
    m4fm('adapter', 'convert', from, '--to', to, '--out', out, '--image', 'tiny-random', ...words, '--json')

  test('PEFT → GGUF → .onnx_adapter → PEFT and the other way round are the same adapter', async () => {
    await packageAt('round')
    const wanted = tensorsOf(at('round'))
    const [gguf, onnx] = await both(
      convert(at('round'), 'gguf', at('round.gguf')),
      convert(at('round'), 'onnx', at('round.onnx_adapter')),
    )
    expect([gguf.code, gguf.stderr, onnx.code, onnx.stderr]).toEqual([0, '', 0, ''])
    expect((await readFile(at('round.gguf'))).length).toBe(gguf.json<{ bytes: number }>().bytes)
    const [fromGguf, fromOnnx] = await both(
      convert(at('round.gguf'), 'peft', at('from-gguf')),
      convert(at('round.onnx_adapter'), 'peft', at('from-onnx')),
    )
    expect([fromGguf.code, fromOnnx.code]).toEqual([0, 0])
    expectSame(tensorsOf(at('from-gguf')), wanted)
    expectSame(tensorsOf(at('from-onnx')), wanted)
    const [there, back] = await both(
      convert(at('round.gguf'), 'onnx', at('second.onnx_adapter')),
      convert(at('round.onnx_adapter'), 'gguf', at('second.gguf')),
    )
    expect([there.code, back.code]).toEqual([0, 0])
    expect(await readFile(at('second.onnx_adapter'))).toEqual(await readFile(at('round.onnx_adapter')))
    await convert(at('second.gguf'), 'peft', at('from-second'))
    expectSame(tensorsOf(at('from-second')), wanted)
    const half = await convert(at('round'), 'gguf', at('half.gguf'), '--dtype', 'float16')
    expect(half.json<{ bytes: number }>().bytes).toBeLessThan(gguf.json<{ bytes: number }>().bytes)
  })

  test('what cannot be converted is refused, and nothing is written', async () => {
    await packageAt('stay')
    await packageAt('alien', { base: OTHER_BASE })
    await writeFile(at('no-adapter.txt'), 'none')
    const cases: readonly (readonly [readonly [string, string, string], number, string])[] = [
      [[at('stay'), 'peft', at('x')], 2, 'USAGE'],
      [[at('stay'), 'gguff', at('x')], 2, 'UNKNOWN_NAME'],
      [[at('stay'), 'gguf', at('stay', 'x.gguf')], 2, 'USAGE'],
      [[at('alien'), 'gguf', at('x')], 2, 'NOT_AVAILABLE'],
      [[at('no-adapter.txt'), 'peft', at('x')], 3, 'FORMAT_UNSUPPORTED'],
      [[at('nothing'), 'gguf', at('x')], 3, 'FILE_NOT_FOUND'],
    ]
    for (const [words, code, name] of cases) {
      const result = await convert(...words)
      expect([result.code, result.json<ErrorJson>().error.code], words.join(' ')).toEqual([code, name])
    }
    expect(await readdir(on.home)).not.toContain('x')
    expect(await readdir(at('stay'))).not.toContain('x.gguf')
  })

  test('merge adds the product to the weights, and only there', async () => {
    await packageAt('mergeable')
    const names = ['model.layers.0.self_attn.q_proj.weight', 'model.layers.1.self_attn.q_proj.weight']
    const values = ['model.layers.0.self_attn.v_proj.weight', 'model.layers.1.self_attn.v_proj.weight']
    const { sourceHeadWidth, kvHeads, width } = on.manifest.abi
    const base = Object.fromEntries([
      ...names.map((name) => [name, hostTensor('float32', [width, width])] as const),
      ...values.map((name) => [name, hostTensor('float32', [kvHeads * sourceHeadWidth, width])] as const),
      ['model.norm.weight', hostTensor('float32', [width], new Float32Array(width).fill(1))] as const,
    ])
    await mkdir(at('base'))
    await writeFile(at('base', 'model.safetensors'), writeSafetensors(base))
    const merge = (out: string) =>
      m4fm('adapter', 'merge', at('mergeable'), '--base', at('base'), '--out', out, '--json')
    const [done, inside] = await both(merge(at('merged', 'model.safetensors')), merge(at('base', 'model2.safetensors')))
    expect([done.code, done.stderr]).toEqual([0, ''])
    expect(done.json()).toMatchObject({ tensors: 5, merged: 4 })
    expect(inside.json<ErrorJson>().error.code).toBe('INVALID_REQUEST')
    using merged = openCheckpoint(at('merged', 'model.safetensors'))
    using adapter = openCheckpoint(at('mergeable', 'adapter_model.safetensors'))
    const half = (letter: string) =>
      adapter.tensors.get(`base_model.model.${names[0]!.replace('weight', `lora_${letter}.weight`)}`)!.float32()
    const [a, b] = [half('A'), half('B')]
    // Scale 8 / 2; the base is zero, so what is there is B·A.
    const wanted = 4 * (b[0]! * a[0]! + b[1]! * a[width]!)
    expect(merged.tensors.get(names[0]!)!.float32()[0]).toBeCloseTo(wanted, 5)
    expect(
      merged.tensors
        .get('model.norm.weight')!
        .float32()
        .every((value) => value === 1),
    ).toBe(true)
  })

  test('packed LoRA comes apart: what q and k share goes to both, what is zero to none', () => {
    const site = on.manifest.abi.sites.qkv!
    const out = site.parts.reduce((sum, part) => sum + part.out, 0)
    const a = Float32Array.from({ length: site.in * 2 }, (_, i) => i + 1)
    const b = new Float32Array(2 * out)
    b[0] = 1
    b[site.parts[0]!.out] = 2
    const packed = new Map([['layers.1/attn/qkv', { rank: 2, a, b }]])
    const { parts } = unpackLora(on.manifest.abi, { lora: packed })
    expect(parts.map(({ layer, part, rank, alpha }) => [layer, part, rank, alpha])).toEqual([
      [1, 'q', 1, 1],
      [1, 'k', 1, 1],
    ])
    for (const part of parts)
      expect(Array.from(part.a)).toEqual(Array.from({ length: site.in }, (_, row) => 2 * row + 1))
    expect(parts.map((part) => part.b[0])).toEqual([1, 2])
    expect(
      packTrained(on.manifest.abi, 'again', { kind: 'lora', rsLora: false, parts }).lora.get('layers.1/attn/qkv')!.rank,
    ).toBe(2)
    expect(() => unpackLora({ ...on.manifest.abi, sites: {} }, { lora: packed })).toThrow(
      expect.objectContaining({ code: 'UNKNOWN_NAME' }),
    )
  })
})

describe('run and chat with an adapter', () => {
  const withoutEffect = (): TrainedAdapter => {
    const { parts, ...rest } = on.lora()
    return { ...rest, parts: parts.map((part) => ({ ...part, b: new Float32Array(part.b.length) })) }
  }

  test('classify takes labels and prompt from the package; given ones win', async () => {
    await packageAt('judge')
    const words = ['classify', 'a film', '--adapter', at('judge')]
    const [own, same] = await both(
      ask(...words),
      ask(...words, '--template', 'Say of {}:', '--labels', LABELS.join(',')),
    )
    expect(own.stderr).toBe('')
    expect(
      own
        .json<RunJson>()
        .output.scores.map(({ label }) => label)
        .sort(),
    ).toEqual([...LABELS].sort())
    expect(own.json<RunJson>().output).toEqual(same.json<RunJson>().output)
    const [other, two] = await both(
      ask(...words, '--template', 'Well, {} is'),
      m4fm('run', 'tiny-random', '--task', ...words, '--labels', 'yes,no'),
    )
    expect(other.json<RunJson>().output).not.toEqual(own.json<RunJson>().output)
    expect(two.stdout).toMatch(/^(yes|no)\n/)
    expect(two.stderr).toContain('prompt of adapter judge: "Say of {}:"')
    const lines = await ask(...words, '--instruction', 'Judge.')
    expect(lines.json<RunJson>().report.tokens.prompt).toBeGreaterThan(own.json<RunJson>().report.tokens.prompt)
  })

  test('generate puts the text as the package says, unless a template is given', async () => {
    await packageAt('writer', { task: 'generate', prompt: { template: 'Q: {}\n' } })
    const words = ['generate', 'a b', '--max-tokens', '12', '--adapter', at('writer')]
    const [own, written] = await both(ask(...words), ask(...words.with(1, 'Q: a b\n'), '--template', '{}'))
    expect(own.json<RunJson>().output.text).toBe(written.json<RunJson>().output.text)
    expect(own.json<RunJson>().report.tokens).toEqual(written.json<RunJson>().report.tokens)
    const [twice, none] = await both(
      ask(...words, '--chat', '--template', '{}'),
      ask('classify', 'x', '--adapter', at('writer')),
    )
    expect(twice.json<ErrorJson>().error.code).toBe('USAGE')
    expect(none.json<ErrorJson>().error).toMatchObject({ code: 'USAGE', hint: expect.stringContaining('writer') })
  })

  test('another image is a visible warning, another ABI and no effect are refused', async () => {
    await packageAt('aged', { base: onOtherImage() })
    await packageAt('wrong', { base: OTHER_BASE })
    await packageAt('idle', { trained: withoutEffect() })
    const words = ['generate', 'a b', '--max-tokens', '2', '--adapter']
    const [aged, shown] = await both(
      ask(...words, at('aged')),
      m4fm('run', 'tiny-random', '--task', ...words, at('aged')),
    )
    expect(aged.json<RunJson>().adapter).toMatchObject({
      fit: 'revalidate',
      warnings: [expect.stringContaining('m4fm adapter revalidate')],
    })
    expect(shown.stderr).toMatch(/warning: adapter aged .*`m4fm adapter revalidate/)
    const [wrong, idle] = await both(ask(...words, at('wrong')), ask(...words, at('idle')))
    expect([wrong.code, wrong.json<ErrorJson>().error]).toMatchObject([
      2,
      {
        code: 'NOT_AVAILABLE',
        details: { reason: 'adapter-incompatible', expected: OTHER_BASE.abi, got: on.manifest.abi.id },
      },
    ])
    expect([idle.code, idle.json<ErrorJson>().error.code]).toEqual([3, 'FORMAT_INVALID'])
    expect(idle.json<ErrorJson>().error.message).toContain('zero')
  })

  test('a conversation changes its adapter between two turns', async () => {
    await packageAt('first')
    await packageAt('second', { trained: on.lora(3) })
    await m4fm('adapter', 'install', at('first'), '--image', 'tiny-random')
    await m4fm('adapter', 'install', at('second'), '--image', 'tiny-random')
    const stdin = 'a\n/adapter second\na\n/adapter none\na\n/quit\n'
    const chat = (input: string) =>
      runCli(['chat', 'tiny-random', '--adapter', 'first', '--max-tokens', '3', '--json'], {
        home: on.home,
        stdin: input,
      })
    const [turns, unknown] = await both(chat(stdin), chat('/adapter secnd\n'))
    expect(turns.json<{ report: { adapter?: string } }[]>().map(({ report }) => report.adapter)).toEqual([
      'first',
      'second',
      undefined,
    ])
    expect([unknown.code, unknown.json<ErrorJson>().error.code]).toEqual([2, 'UNKNOWN_NAME'])
  })
})
