/** Merging: W' = W + scale·B·A in every stored type, everything else byte for byte, and the merged model answers as the adapted. */

import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { goldenPath } from '../../test/helpers/checkpoint-files.js'
import { openCheckpoint, writeSafetensors } from '../checkpoint/index.js'
import { toHalf } from '../core/dtypes.js'
import { type HostTensor, hostTensor } from '../core/tensor.js'
import { runParity } from '../parity/index.js'
import { mergeAdapter } from './merge.js'
import { baseOf, part, random } from './testing/fixtures.js'
import type { TrainedAdapter } from './trained.js'
import { writePeftFolder } from './write-peft.js'

const abi = baseOf(12, 16)
const [Q, O, DOWN, NORM] = [
  'model.layers.0.self_attn.q_proj.weight',
  'model.layers.1.self_attn.o_proj.weight',
  'model.layers.2.mlp.down_proj.weight',
  'model.norm.weight',
]
const bf16 = (values: Float32Array) => Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16)
const weights: Record<string, HostTensor> = {
  [Q!]: hostTensor('float32', [48, 24], random(1, 48 * 24)),
  [O!]: hostTensor('float16', [24, 48], toHalf(random(2, 24 * 48)) as HostTensor<'float16'>['data']),
  [DOWN!]: hostTensor('bfloat16', [24, 10], bf16(random(3, 240))),
  [NORM!]: hostTensor('float32', [24], random(4, 24)),
  'model.layers.10.self_attn.q_proj.weight': hostTensor('float32', [48, 24], random(5, 48 * 24)),
}
const adapter: TrainedAdapter = {
  kind: 'lora',
  rsLora: false,
  parts: [part(abi, 0, 'qkv', 'q', 2, 6), part(abi, 1, 'o', 'o', 4, 8), part(abi, 2, 'down', 'down', 1, 2)],
}

let folder: string
let base: string
let output: string
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'm4-merge-'))
  base = join(folder, 'model.safetensors')
  output = join(folder, 'out', 'model.safetensors')
  writeFileSync(base, writeSafetensors(weights))
  await writePeftFolder(join(folder, 'adapter'), abi, adapter)
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const code = (name: string) => expect.objectContaining({ code: name })
const merge = (options: object = {}) => mergeAdapter({ base, adapter: join(folder, 'adapter'), output, ...options })

test('every stored type: W + scale·B·A, rounded once; the rest as it was', async () => {
  const report = await merge()
  expect(report).toMatchObject({ output, tensors: 5, merged: 3 })
  using before = openCheckpoint(base)
  using after = openCheckpoint(output)
  using pairs = openCheckpoint(join(folder, 'adapter', 'adapter_model.safetensors'))
  expect([...after.tensors.keys()].sort()).toEqual([...before.tensors.keys()].sort())
  for (const name of [NORM!, 'model.layers.10.self_attn.q_proj.weight'])
    expect(after.tensors.get(name)!.bytes()).toEqual(before.tensors.get(name)!.bytes())
  for (const [name, scale, ulp] of [
    [Q!, 3, 2 ** -24],
    [O!, 2, 2 ** -11],
    [DOWN!, 2, 2 ** -8],
  ] as const) {
    const tensor = after.tensors.get(name)!
    expect(tensor.storage).toBe(before.tensors.get(name)!.storage)
    const half = (letter: string) =>
      pairs.tensors.get(`base_model.model.${name.replace('.weight', '')}.lora_${letter}.weight`)!
    const [a, b] = [half('A').float32(), half('B').float32()]
    const [rank, inner] = half('A').dims as [number, number]
    const old = before.tensors.get(name)!.float32()
    for (const [i, value] of tensor.float32().entries()) {
      let exact = 0
      for (let r = 0; r < rank; r++) exact += b[Math.floor(i / inner) * rank + r]! * a[r * inner + (i % inner)]!
      exact = old[i]! + scale * exact
      expect(Math.abs(value - exact)).toBeLessThanOrEqual(ulp * Math.max(2 ** -6, Math.abs(exact)) + 1e-7)
    }
  }
  expect(report.largestChange).toBeGreaterThan(0.1)
})

test('a folder of shards as the base; the same bytes every time', async () => {
  const shards = join(folder, 'shards')
  mkdirSync(shards)
  const names = Object.keys(weights)
  const map: Record<string, string> = {}
  for (const [i, name] of names.entries()) {
    map[name] = `model-0000${i + 1}-of-0000${names.length}.safetensors`
    writeFileSync(join(shards, map[name]!), writeSafetensors({ [name]: weights[name]! }))
  }
  const total = Object.values(weights).reduce((sum, { data }) => sum + data.byteLength, 0)
  writeFileSync(
    join(shards, 'model.safetensors.index.json'),
    JSON.stringify({ metadata: { total_size: total }, weight_map: map }),
  )
  await merge()
  const once = readFileSync(output)
  await merge({ base: shards, output: join(folder, 'out', 'b.safetensors') })
  expect(readFileSync(join(folder, 'out', 'b.safetensors'))).toEqual(once)
})

describe('refusals leave nothing', () => {
  test('a matrix that is missing, of another shape, or twice', async () => {
    const { [Q!]: _, ...without } = weights
    writeFileSync(base, writeSafetensors(without))
    await expect(merge()).rejects.toThrow(code('TENSOR_MISSING'))
    writeFileSync(base, writeSafetensors({ ...without, [Q!]: hostTensor('float32', [24, 48]) }))
    await expect(merge()).rejects.toThrow(code('SHAPE_MISMATCH'))
    writeFileSync(base, writeSafetensors({ ...weights, [`other.${Q}`]: weights[Q!]! }))
    await expect(merge()).rejects.toThrow(/2 matrices/)
    expect(existsSync(join(folder, 'out'))).toBe(false)
  })

  test('a sum beyond float16', async () => {
    const big = { ...weights, [O!]: hostTensor('float16', [24, 48], new Uint16Array(24 * 48).fill(0x7bff)) }
    writeFileSync(base, writeSafetensors(big as Record<string, HostTensor>))
    await writePeftFolder(join(folder, 'adapter'), abi, {
      ...adapter,
      parts: [{ ...part(abi, 1, 'o', 'o', 4, 8), alpha: 1e4 }],
    } as TrainedAdapter)
    await expect(merge()).rejects.toThrow(/beyond F16/)
    expect(readdirSync(join(folder, 'out'))).toEqual([])
  })

  test('the base itself, a full disk, a cancelled run', async () => {
    await expect(merge({ output: base })).rejects.toThrow(code('INVALID_REQUEST'))
    const shards = join(folder, 'model')
    mkdirSync(shards)
    cpSync(base, join(shards, 'model.safetensors'))
    await expect(merge({ base: shards, output: join(shards, 'model.safetensors') })).rejects.toThrow(
      code('INVALID_REQUEST'),
    )
    let writes = 0
    const write = () =>
      ++writes > 2 ? Promise.reject(Object.assign(new Error('full'), { code: 'ENOSPC' })) : Promise.resolve(1e9)
    await expect(merge({ write })).rejects.toThrow(code('DISK_FULL'))
    const stop = new AbortController()
    await expect(merge({ signal: stop.signal, onProgress: () => stop.abort() })).rejects.toThrow(code('ABORTED'))
    expect(readdirSync(join(folder, 'out'))).toEqual([])
    await merge()
    const before = readFileSync(output)
    await expect(merge({ write })).rejects.toThrow(code('DISK_FULL'))
    expect(readFileSync(output)).toEqual(before)
  })
})

/** The reference's own case, its adapter merged into its model: the outputs of the adapted model, from a plain one. */
const golden = goldenPath('llama-peft-lora-qkvo')
test.skipIf(!golden)('the merged model gives the logits of model and adapter', async () => {
  const copy = join(folder, 'case')
  mkdirSync(copy)
  const merged = join(copy, 'model.safetensors')
  await mergeAdapter({ base: join(golden!, 'model.safetensors'), adapter: golden!, output: merged })
  for (const file of ['config.json', 'io.safetensors']) cpSync(join(golden!, file), join(copy, file))
  const json = JSON.parse(readFileSync(join(golden!, 'case.json'), 'utf8'))
  const files = json.files.filter(({ file }: { file: string }) => !file.startsWith('adapter'))
  const outputs = json.outputs.filter(({ name }: { name: string }) => name === 'logits')
  expect(outputs).toHaveLength(1)
  const { base: config } = json.config
  writeFileSync(
    join(copy, 'case.json'),
    JSON.stringify({ ...json, name: 'llama-hf-merged', architecture: 'llama', config, files, outputs }),
  )
  const report = await runParity(copy)
  expect(report).toMatchObject({ pass: true, outputs: [{ name: 'logits', pass: true }] })
  // Without the merge the same case fails: the comparison sees the adapter.
  cpSync(join(golden!, 'model.safetensors'), merged)
  expect(await runParity(copy)).toMatchObject({ pass: false })
})
