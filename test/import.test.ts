/** Released adapter files are told by what is in them, and never do nothing in silence; models built from released pieces. */

import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { type AdapterReport, recogniseAdapter } from '../src/adapters/index.js'
import { openCheckpoint, writeSafetensors } from '../src/checkpoint/index.js'
import { hostTensor } from '../src/core/tensor.js'
import { weightsOf } from '../src/firmware/build.js'
import { abiOf, emptyAbi } from '../src/firmware/describe.js'
import { buildFirmware, type Manifest, type Recipe } from '../src/firmware/index.js'
import { ARCHITECTURES, LLAMA_LAYOUTS, llamaShapes, withGptq } from '../src/models/index.js'
import { EXACT } from '../src/parity/graphs.js'

const OWN = fileURLToPath(new URL('goldens', import.meta.url))
const SHARED = fileURLToPath(new URL('../../shared/goldens', import.meta.url))
const root = mkdtempSync(join(tmpdir(), 'm4-import-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

type Facts = Pick<Manifest, 'abi' | 'modules'>

/** What an image of this checkpoint would say of its backbone. */
function backboneOf(path: string, config: unknown): Facts {
  using checkpoint = openCheckpoint(path)
  const weights = withGptq(weightsOf(checkpoint))
  const { llama } = ARCHITECTURES
  const found = llama.configure({ format: checkpoint.format, metadata: { config }, weights })
  const abi = abiOf(llama.adapters!(found, EXACT))
  const backbone = { architecture: 'llama', config: llama.runtimeConfig(found) }
  return { abi, modules: { backbone } as unknown as Manifest['modules'] }
}

const caseConfig = (folder: string): Record<string, unknown> =>
  JSON.parse(readFileSync(join(folder, 'case.json'), 'utf8')).config
const codes = ({ findings }: AdapterReport) => findings.map(({ code }) => code)

describe('adapters of the backbone', () => {
  test('lit-llama LoRA', () => {
    const folder = join(OWN, 'litllama-lora')
    const image = backboneOf(join(folder, 'lit-llama.pth'), caseConfig(folder))
    const { files } = JSON.parse(readFileSync(join(folder, 'case.json'), 'utf8')) as { files: { file: string }[] }
    const lora = files.map(({ file }) => file).find((file) => /lora/.test(file))!
    const report = recogniseAdapter(join(folder, lora), image, { alpha: 16 })
    expect(report).toMatchObject({ kind: 'lit-llama-lora', target: 'backbone', findings: [] })
    expect(report.matched).toBe(report.total)
    expect(report.adapter?.lora.size).toBeGreaterThan(0)
  })

  test('LLaMA-Adapter, and one whose gates are all zero', () => {
    const folder = join(OWN, 'litllama-adapter')
    const image = backboneOf(join(folder, 'lit-llama.pth'), caseConfig(folder))
    const report = recogniseAdapter(join(folder, 'lit-llama-adapter-finetuned.pth'), image)
    expect(report).toMatchObject({ kind: 'lit-llama-adapter', matched: 2, total: 2, findings: [] })
    const idle = join(root, 'idle.safetensors')
    const { width } = image.abi
    writeFileSync(
      idle,
      writeSafetensors({
        'transformer.h.1.attn.adapter_wte.weight': hostTensor('float32', [2, width]),
        'transformer.h.1.attn.gating_factor': hostTensor('float32', [1]),
      }),
    )
    expect(codes(recogniseAdapter(idle, image))).toEqual(['no-effect'])
  })

  test('a PEFT folder, and what is no adapter', () => {
    const folder = join(OWN, 'llama-peft-lora-qv')
    const image = backboneOf(
      join(folder, 'model.safetensors'),
      JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')),
    )
    expect(recogniseAdapter(folder, image)).toMatchObject({ kind: 'peft', findings: [] })
    expect(() => recogniseAdapter(join(folder, 'model.safetensors'), image)).toThrow(
      expect.objectContaining({ code: 'FORMAT_UNSUPPORTED' }),
    )
    expect(() => recogniseAdapter(join(root, 'none'), image)).toThrow(
      expect.objectContaining({ code: 'FILE_NOT_FOUND' }),
    )
  })

  test.runIf(existsSync(join(SHARED, 'pandagpt')))('a PandaGPT delta', () => {
    const folder = join(SHARED, 'pandagpt')
    const image = backboneOf(
      join(folder, 'model.safetensors'),
      JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')),
    )
    const report = recogniseAdapter(join(folder, 'pytorch_model.pt'), image)
    expect(report).toMatchObject({ kind: 'pandagpt', findings: [] })
    expect(report.matched).toBe(report.total)
  })
})

describe('towers of ImageBind', () => {
  const tower = (modality: string, width: number, layers: number, joint: number) => ({
    architecture: `imagebind-${modality}`,
    config: { modality, width, layers, joint },
  })
  const image = (modules: Record<string, unknown>): Facts => ({
    abi: emptyAbi(),
    modules: modules as Manifest['modules'],
  })
  const tensors = (count: number, dims: readonly number[], value: number, letter: string) =>
    Object.fromEntries(
      Array.from({ length: count }, (_, i) => [
        `w_${letter}_${String(i).padStart(3, '0')}`,
        hostTensor('float32', dims, new Float32Array(dims.reduce((a, b) => a * b, 1)).fill(value)),
      ]),
    )

  test('the released motion adapter: never multiplied, never trained', () => {
    const path = join(root, 'imagebind-lora-imu_last.safetensors')
    writeFileSync(path, writeSafetensors({ ...tensors(4, [2, 24], 0.01, 'a'), ...tensors(4, [24, 2], 0, 'b') }))
    const report = recogniseAdapter(path, image({ IMU: tower('imu', 8, 2, 6) }))
    expect(report).toMatchObject({ kind: 'imagebind-lora', target: 'imu', matched: 8, total: 8 })
    expect(codes(report)).toEqual(['no-effect', 'no-effect'])
    expect(() => recogniseAdapter(path, image({}))).toThrow(expect.objectContaining({ code: 'NOT_AVAILABLE' }))
  })

  test('heads and scales of all modalities, of which the image has one', () => {
    const heads = join(root, 'imagebind-heads_last.safetensors')
    const zeros = (...dims: number[]) => hostTensor('float32', dims)
    writeFileSync(
      heads,
      writeSafetensors({
        'imu.0.weight': zeros(8),
        'imu.0.bias': zeros(8),
        'imu.3.weight': zeros(6, 8),
        'vision.2.weight': zeros(6, 20),
      }),
    )
    const report = recogniseAdapter(heads, image({ IMU: tower('imu', 8, 2, 6) }))
    expect(report).toMatchObject({ kind: 'imagebind-heads', target: 'imu', matched: 3, total: 4 })
    expect(codes(report)).toEqual(['unknown-site'])
    expect(codes(recogniseAdapter(heads, image({ IMU: tower('imu', 8, 2, 7) })))).toContain('wrong-shape')
    const scales = join(root, 'imagebind-postprocessors_last.safetensors')
    writeFileSync(scales, writeSafetensors({ 'imu.1.log_logit_scale': zeros() }))
    expect(recogniseAdapter(scales, image({ IMU: tower('imu', 8, 2, 6) }))).toMatchObject({ matched: 1, findings: [] })
  })
})

describe('images from released pieces', () => {
  const source = (name: string, bytes: Uint8Array | string) => {
    const path = join(root, name)
    writeFileSync(path, bytes)
    const data = readFileSync(path)
    const sha256 = createHash('sha256').update(data).digest('hex')
    return { sha256, bytes: data.length, licence: 'MIT', uris: [`file:${path}`] }
  }
  const recipe = (backbone: Partial<NonNullable<Recipe['modules']['backbone']>>): Recipe => ({
    name: 'pieces',
    version: '1.0.0',
    rollbackIndex: 1,
    about: 'pieces',
    modules: {
      backbone: {
        architecture: 'llama',
        title: 'pieces',
        quantisations: { fp32: { default: 'fp32' } },
        tokenizer: { from: 'tiny' },
        ...backbone,
      } as NonNullable<Recipe['modules']['backbone']>,
    },
  })
  const build = (name: string, backbone: Parameters<typeof recipe>[0]) =>
    buildFirmware(recipe(backbone), { home: join(root, 'home'), out: join(root, name) })

  test('a GPTQ checkpoint', async () => {
    const folder = join(OWN, 'litllama-gptq-int4')
    const { checkpoint } = JSON.parse(readFileSync(join(folder, 'case.json'), 'utf8')) as { checkpoint: string }
    const weights = source('gptq.pth', readFileSync(join(folder, checkpoint)))
    const { manifest } = await build('gptq', { weights, config: caseConfig(folder) })
    expect(manifest.weights).toBe('pretrained')
    expect(Object.keys(manifest.modules.backbone!.graphs)).toEqual(['embed', 'decode'])
  })

  test('a Hugging Face folder, base and delta, with places for LLaMA-Adapter: the sum is what is built', async () => {
    const config = { num_attention_heads: 2, num_key_value_heads: 2, max_position_embeddings: 32, rms_norm_eps: 1e-6 }
    const shapes = llamaShapes({
      vocabulary: 288,
      width: 32,
      feedForward: 48,
      layers: 1,
      heads: 2,
      kvHeads: 2,
      headWidth: 16,
      contextLength: 32,
      normEpsilon: 1e-6,
      ropeTheta: 1e4,
    })
    const file = (value: number) =>
      writeSafetensors(
        Object.fromEntries(
          Object.entries(LLAMA_LAYOUTS.hf.names).map(([ours, theirs]) => {
            const dims = shapes[ours]!
            const count = dims.reduce((a, b) => a * b, 1)
            const data = Float32Array.from({ length: count }, (_, i) => value * (1 + (i % 7) / 8))
            return [theirs.replace('{}', '0'), hostTensor('float32', dims, data)]
          }),
        ),
      )
    const json = source('config.json', JSON.stringify(config))
    const folder = (name: string, value: number) => ({
      files: { 'config.json': json, 'model.safetensors': source(name, file(value)) },
    })
    const summed = await build('summed', {
      weights: folder('base', 0.5),
      delta: folder('delta', 0.25),
      gatedPrompt: true,
    })
    const whole = await build('whole', { weights: folder('sum', 0.75), gatedPrompt: true })
    expect(summed.manifest.blobs).toEqual(whole.manifest.blobs)
    expect(summed.manifest.provenance).toHaveLength(4)
    expect(Object.keys(summed.manifest.modules.backbone!.graphs)).toEqual(['embed', 'decode', 'prompt'])
  })
})
