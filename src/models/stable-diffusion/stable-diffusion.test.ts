import { describe, expect, test } from 'vitest'
import type { M4Error } from '../../core/errors.js'
import { censusOf, type Graph } from '../../graph/index.js'
import { ARCHITECTURES } from '../architecture.js'
import type { WeightTensor } from '../weights.js'
import { clipTextShapes } from './clip-text.js'
import {
  clipTextConfig,
  diffusionParts,
  STABLE_DIFFUSION_1,
  STABLE_DIFFUSION_2_1,
  STABLE_DIFFUSION_2_1_UNCLIP,
  type StableDiffusionConfig,
  schedulerConfig,
  stableDiffusionConfig,
} from './index.js'
import { sinusoids } from './sinusoids.js'
import { namesIn } from './tensors.js'
import { unetConfig } from './unet-config.js'
import { unetTensors } from './unet-tensors.js'
import { vaeConfig, vaeTensors } from './vae-tensors.js'

const model = ARCHITECTURES['stable-diffusion']
const OPTIONS = { quantisation: { default: 'fp32' }, embedding: 'fp32', loraSites: [] } as const
const count = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1)

/** Weights that must not be read. */
const unread = (name: string, dims: readonly number[]): WeightTensor => ({
  name,
  dims,
  float32: () => {
    throw new Error(`${name} was read`)
  },
})

function graphsOf(config: StableDiffusionConfig): {
  graphs: Record<string, Graph>
  parameters: Record<string, number>
} {
  const weights = new Map(
    [...model.random(config, 1).values()].map(({ name, dims }) => [name, unread(name, dims)] as const),
  )
  const parameters: Record<string, number> = {}
  for (const { name, dims } of weights.values()) {
    const part = name.split('/')[0]!
    parameters[part] = (parameters[part] ?? 0) + count(dims)
  }
  const made = Object.entries(model.graphs(config, weights, OPTIONS)).map(([name, make]) => [name, make()] as const)
  return { graphs: Object.fromEntries(made), parameters }
}

const sum = (numbers: Record<string, number>) => Object.values(numbers).reduce((a, b) => a + b, 0)

describe('published sizes', () => {
  test('1.x has the 1,066,235,307 parameters of the paper, all of them in its graphs', () => {
    const { graphs, parameters } = graphsOf(STABLE_DIFFUSION_1)
    expect(parameters).toEqual({ text: 123_060_480, unet: 859_520_964, vae: 83_653_863 })
    expect(sum(parameters)).toBe(1_066_235_307)
    const held = Object.values(graphs).flatMap(({ initializers }) =>
      [...initializers].filter(([name]) => !/^constants\/|\/table$/.test(name)).map(([, { dims }]) => count(dims)),
    )
    expect(held.reduce((a, b) => a + b, 0)).toBe(1_066_235_307)
  })

  test('2.1 and unCLIP', () => {
    const { parameters } = graphsOf(STABLE_DIFFUSION_2_1)
    expect(parameters).toEqual({ text: 340_387_840, unet: 865_910_724, vae: 83_653_863 })
    expect(sum(parameters)).toBe(1_289_952_427)
    expect(graphsOf(STABLE_DIFFUSION_2_1_UNCLIP).parameters).toMatchObject({ unet: 870_173_124, augment: 2048 })
  })

  test('few operator types', () => {
    const { types } = censusOf(Object.values(graphsOf(STABLE_DIFFUSION_1).graphs))
    expect(types.length).toBeLessThanOrEqual(22)
  })
})

/** A checkpoint's tensors under one layout's names. */
function fileOf(config: StableDiffusionConfig, layout: 'ldm' | 'diffusers'): Map<string, WeightTensor> {
  const file = new Map<string, WeightTensor>()
  const add = (name: string, dims: readonly number[]) => void file.set(name, unread(name, dims))
  const prefix = layout === 'ldm' ? 'state_dict/model.diffusion_model.' : 'unet/'
  // The projections of 1.x are convolutions of one pixel.
  for (const { ours, theirs, dims } of unetTensors(config.unet))
    add(prefix + theirs[layout], /\/attn\/(in|out)$/.test(ours) ? [...dims, 1, 1] : dims)
  const vae = layout === 'ldm' ? 'state_dict/first_stage_model.' : 'vae/'
  for (const { theirs, dims } of vaeTensors(config.vae)) add(vae + theirs[layout], dims)
  const text = layout === 'ldm' ? 'state_dict/cond_stage_model.transformer.text_model.' : 'text_encoder/text_model.'
  for (const [name, dims] of Object.entries(clipTextShapes(config.text)))
    for (let layer = 0; layer < (name.includes('{}') ? config.text.layers : 1); layer++)
      add(text + hfName(name.replace('{}', String(layer))), dims)
  return file
}

const HF: Readonly<Record<string, string>> = {
  'text/embed': 'embeddings.token_embedding',
  'text/positions': 'embeddings.position_embedding',
  'text/norm': 'final_layer_norm',
  'attn/norm': 'layer_norm1',
  'attn/q': 'self_attn.q_proj',
  'attn/k': 'self_attn.k_proj',
  'attn/v': 'self_attn.v_proj',
  'attn/o': 'self_attn.out_proj',
  'mlp/norm': 'layer_norm2',
  'mlp/fc1': 'mlp.fc1',
  'mlp/fc2': 'mlp.fc2',
}
function hfName(ours: string): string {
  const [, name, bias] = /^(.*?)(\/bias)?$/.exec(ours)!
  const layer = /^text\/layers\.(\d+)\/(.*)$/.exec(name!)
  return `${layer ? `encoder.layers.${layer[1]}.${HF[layer[2]!]}` : HF[name!]}.${bias ? 'bias' : 'weight'}`
}

describe('reading a checkpoint', () => {
  test.each(['ldm', 'diffusers'] as const)('sizes of 1.x from the tensors of %s alone', (layout) => {
    const weights = fileOf(STABLE_DIFFUSION_1, layout)
    const facts = { format: 'safetensors', metadata: {}, weights }
    expect(stableDiffusionConfig(facts)).toEqual(STABLE_DIFFUSION_1)
    expect(model.weights(STABLE_DIFFUSION_1, weights).size).toBe(weights.size)
  })

  test('heads: counts of diffusers, counts and widths of LDM', () => {
    const weights = diffusionParts(fileOf(STABLE_DIFFUSION_1, 'ldm')).unet
    const headsFor = (config: object) =>
      unetConfig({ format: 'torch', metadata: { config }, weights }).levels.map(({ heads }) => heads)
    expect(headsFor({ attention_head_dim: [5, 10, 20, 20] })).toEqual([5, 10, 20, 20])
    expect(headsFor({ attention_head_dim: 4 })).toEqual([4, 4, 4, 4])
    expect(headsFor({ num_head_channels: 64, num_heads: -1 })).toEqual([5, 10, 20, 20])
  })

  test('what is left over, missing, or of another model is an error', () => {
    const facts = (weights: Map<string, WeightTensor>, config = {}) => ({
      format: 'torch',
      metadata: { config },
      weights,
    })
    const code = (run: () => unknown) => {
      try {
        run()
      } catch (error) {
        return (error as M4Error).code
      }
      return undefined
    }
    const file = () => fileOf(STABLE_DIFFUSION_1, 'ldm')
    const stray = file().set('state_dict/adapter.weight', unread('adapter.weight', [1]))
    expect(code(() => stableDiffusionConfig(facts(stray)))).toBe('TENSOR_UNUSED')
    const more = file().set('state_dict/model.diffusion_model.extra.weight', unread('extra', [1]))
    expect(code(() => model.weights(STABLE_DIFFUSION_1, more))).toBe('TENSOR_UNUSED')
    const less = file()
    less.delete('state_dict/first_stage_model.decoder.conv_out.bias')
    expect(code(() => model.weights(STABLE_DIFFUSION_1, less))).toBe('TENSOR_MISSING')
    const inpainting = 'state_dict/model.diffusion_model.input_blocks.0.0.weight'
    const wide = file().set(inpainting, unread(inpainting, [320, 9, 3, 3]))
    expect(code(() => stableDiffusionConfig(facts(wide)))).toBe('SHAPE_MISMATCH')
    expect(code(() => stableDiffusionConfig(facts(file(), { unet: { act_fn: 'gelu' } })))).toBe('FORMAT_UNSUPPORTED')
    expect(code(() => stableDiffusionConfig(facts(file(), { text: { hidden_act: 'relu' } })))).toBe(
      'FORMAT_UNSUPPORTED',
    )
    expect(code(() => schedulerConfig({ prediction_type: 'sample' }))).toBe('FORMAT_UNSUPPORTED')
    expect(code(() => clipTextConfig({ format: 'torch', metadata: {}, weights: new Map() }))).toBe('FORMAT_UNSUPPORTED')
  })

  test('names of the published .ckpt', () => {
    const names = [...fileOf(STABLE_DIFFUSION_1, 'ldm').keys()]
    for (const name of [
      'model.diffusion_model.input_blocks.3.0.op.weight',
      'model.diffusion_model.input_blocks.8.1.transformer_blocks.0.attn2.to_k.weight',
      'model.diffusion_model.input_blocks.11.0.out_layers.3.bias',
      'model.diffusion_model.middle_block.2.in_layers.0.weight',
      'model.diffusion_model.output_blocks.2.1.conv.weight',
      'model.diffusion_model.output_blocks.5.2.conv.weight',
      'model.diffusion_model.output_blocks.8.2.conv.weight',
      'model.diffusion_model.output_blocks.11.1.proj_out.weight',
      'first_stage_model.decoder.up.1.block.0.nin_shortcut.weight',
      'first_stage_model.decoder.up.3.upsample.conv.weight',
      'first_stage_model.encoder.down.2.downsample.conv.bias',
    ])
      expect(names).toContain(`state_dict/${name}`)
    expect(names.filter((name) => name.includes('diffusion_model'))).toHaveLength(686)
  })

  test('averages of training and computed tables are left alone', () => {
    const weights = fileOf(STABLE_DIFFUSION_1, 'ldm')
    for (const name of ['model_ema.decay', 'betas', 'sqrt_alphas_cumprod', 'alphas_cumprod_prev', 'logvar'])
      weights.set(name, unread(name, [1]))
    expect(stableDiffusionConfig({ format: 'torch', metadata: {}, weights })).toEqual(STABLE_DIFFUSION_1)
  })

  test('the autoencoder of diffusers before 0.18', () => {
    const { names } = namesIn(vaeTensors(STABLE_DIFFUSION_1.vae), 'diffusersOld')
    const dims = new Map(vaeTensors(STABLE_DIFFUSION_1.vae).map((row) => [row.ours, row.dims]))
    const weights = new Map(
      Object.entries(names).map(([ours, theirs]) => [theirs as string, unread(theirs as string, dims.get(ours)!)]),
    )
    expect(weights.has('decoder.mid_block.attentions.0.proj_attn.weight')).toBe(true)
    expect(vaeConfig({ format: 'safetensors', metadata: {}, weights })).toEqual(STABLE_DIFFUSION_1.vae)
  })
})

test('sinusoids: cosines first, an odd width padded', () => {
  const first = [1, 1, 0, 0, 0]
  const second = [Math.cos(1), Math.cos(0.01), Math.sin(1), Math.sin(0.01), 0]
  const table = sinusoids(2, 5)
  for (const [i, value] of [...first, ...second].entries()) expect(table[i]).toBeCloseTo(value, 6)
})
