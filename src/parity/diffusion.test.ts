/** Stable Diffusion beyond its cases: the other files of a case, odd sizes, and mistakes that must be found. */

import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { openCheckpoint, writeSafetensors } from '../checkpoint/index.js'
import { liveHandles } from '../core/disposal.js'
import type { HostTensor } from '../core/tensor.js'
import { hostTensor, int64Tensor } from '../core/tensor.js'
import { openEngine } from '../engine/index.js'
import { randomWeights, STABLE_DIFFUSION_1, unetGraph, unetShapes } from '../models/index.js'
import { openCase } from './case.js'
import { openDiffusion } from './diffusion-model.js'
import { EXACT, openGraph } from './graphs.js'
import { runParity } from './run-case.js'

const FOLDERS = ['../../test/goldens/', '../../../shared/goldens/'].map((path) =>
  fileURLToPath(new URL(path, import.meta.url)),
)
const find = (name: string) => FOLDERS.map((folder) => join(folder, name)).find((path) => existsSync(path))
const scratch: string[] = []
afterAll(() => {
  for (const folder of scratch) rmSync(folder, { recursive: true, force: true })
  expect(liveHandles()).toEqual({})
})

/** A copy of a golden with something changed. Shared goldens are read-only files: they are copied by content. */
function changed(name: string, change: (folder: string) => void): string {
  const folder = join(mkdtempSync(join(tmpdir(), 'm4-diffusion-')), name)
  scratch.push(join(folder, '..'))
  cpSync(find(name)!, folder, { recursive: true, filter: (path) => basename(path) !== 'io.safetensors' })
  writeFileSync(join(folder, 'io.safetensors'), readFileSync(join(find(name)!, 'io.safetensors')))
  change(folder)
  return folder
}

function editJson(path: string, edit: (json: Record<string, unknown>) => Record<string, unknown>): void {
  const text = JSON.stringify(edit(JSON.parse(readFileSync(path, 'utf8'))))
  rmSync(path)
  writeFileSync(path, text)
}

function editTensors(path: string, edit: (name: string, tensor: HostTensor) => [string, HostTensor] | undefined): void {
  const tensors: Record<string, HostTensor> = {}
  using checkpoint = openCheckpoint(path)
  for (const [name, tensor] of checkpoint.tensors) {
    const kept = edit(name, tensor.read())
    if (kept) tensors[kept[0]] = kept[1]
  }
  rmSync(path)
  writeFileSync(path, writeSafetensors(tensors))
}

const checkpointIs = (folder: string, file: string) =>
  editJson(join(folder, 'case.json'), (json) => ({ ...json, checkpoint: file }))

const withConfig = (folder: string, change: object) =>
  editJson(join(folder, 'case.json'), (json) => ({ ...json, config: { ...(json.config as object), ...change } }))

describe.runIf(find('sd-clip-text') && find('sd2-openclip-text'))('text encoders', () => {
  test.each([
    ['sd-clip-text', 'model.ckpt'],
    ['sd2-openclip-text', 'model.safetensors'],
  ])('%s from %s', async (name, file) => {
    expect(await runParity(changed(name, (folder) => checkpointIs(folder, file)))).toMatchObject({ pass: true })
  })

  test('another activation, another number of heads, a layer more', async () => {
    const config = (change: object) => (folder: string) =>
      editJson(join(folder, 'config.json'), (json) => ({ ...json, ...change }))
    for (const change of [{ hidden_act: 'gelu' }, { num_attention_heads: 2 }]) {
      const report = await runParity(changed('sd-clip-text', config(change)))
      expect(report).toMatchObject({ pass: false, code: 'PARITY_FAILED' })
    }
    const deep = changed('sd2-openclip-text', (folder) => withConfig(folder, { layers_used: 3 }))
    expect(await runParity(deep)).toMatchObject({ pass: false, code: 'PARITY_FAILED' })
  })
})

describe.runIf(find('sd-unet-diffusers'))('U-Net', () => {
  const fails = async (folder: string) =>
    expect(await runParity(folder)).toMatchObject({ pass: false, code: 'PARITY_FAILED' })

  test('a later step, half the heads, another epsilon', async () => {
    await fails(
      changed('sd-unet-diffusers', (folder) =>
        editTensors(join(folder, 'io.safetensors'), (name, tensor) => {
          if (name === 'input.timestep') (tensor.data as BigInt64Array)[0]! += 20n
          return [name, tensor]
        }),
      ),
    )
    for (const change of [{ attention_head_dim: 2 }, { norm_eps: 0.01 }, { norm_num_groups: 16 }])
      await fails(
        changed('sd-unet-diffusers', (folder) =>
          editJson(join(folder, 'config.json'), (json) => ({ ...json, ...change })),
        ),
      )
  })

  test('value and gate swapped', async () => {
    const swap = ({ dtype, dims, data }: HostTensor): HostTensor => {
      const half = data.length / 2
      const out = data.slice()
      out.set(data.slice(half) as never)
      out.set(data.slice(0, half) as never, half)
      return { dtype, dims, data: out }
    }
    await fails(
      changed('sd-unet-diffusers', (folder) =>
        editTensors(join(folder, 'diffusion_pytorch_model.safetensors'), (name, tensor) => [
          name,
          name.includes('ff.net.0.proj') ? swap(tensor) : tensor,
        ]),
      ),
    )
  })

  test('a tensor too many, a tensor too few', async () => {
    const file = 'diffusion_pytorch_model.safetensors'
    const more = changed('sd-unet-diffusers', (folder) =>
      editTensors(join(folder, file), (name, tensor) => [name.replace(/^conv_out\.bias$/, 'conv_out.shift'), tensor]),
    )
    expect(await runParity(more)).toMatchObject({ pass: false, code: 'TENSOR_MISSING' })
    const less = changed('sd-unet-diffusers', (folder) =>
      editTensors(join(folder, file), (name, tensor) => (name === 'conv_norm_out.weight' ? undefined : [name, tensor])),
    )
    expect(await runParity(less)).toMatchObject({ pass: false, code: 'TENSOR_MISSING' })
  })

  test('sizes that do not halve, and several rows with a step each', async () => {
    using parityCase = openCase(find('sd-unet-diffusers')!)
    using model = openDiffusion({ parityCase, engine: await openEngine() })
    const run = async (rows: number, height: number, width: number, steps: readonly number[]) => {
      const dims = [rows, 4, height, width]
      const latents = hostTensor('float32', dims)
      latents.data.forEach((_, i) => {
        latents.data[i] = Math.sin(i % (latents.data.length / rows))
      })
      const text = hostTensor('float32', [rows, 5, 24])
      return (await model.run('unet', { latents, step: int64Tensor([rows], steps), text })).prediction!
    }
    const two = await run(2, 5, 7, [3, 700])
    expect(two.dims).toEqual([2, 4, 5, 7])
    for (const [row, step] of [3, 700].entries()) {
      const one = await run(1, 5, 7, [step])
      const share = (two.data as Float32Array).subarray(row * 140, (row + 1) * 140)
      share.forEach((value, i) => {
        expect(Math.abs(value - (one.data[i] as number))).toBeLessThan(1e-5)
      })
    }
  })

  test.each(['node', 'web'] as const)('the same on %s', async (backend) => {
    const engine = await openEngine({ backend })
    expect(await runParity(find('sd-unet-diffusers')!, { engine })).toMatchObject({ pass: true })
  })
})

describe.runIf(find('sd-vae-diffusers'))('autoencoder', () => {
  test('names of attention before 0.18', async () => {
    const OLD: Readonly<Record<string, string>> = { to_q: 'query', to_k: 'key', to_v: 'value', 'to_out.0': 'proj_attn' }
    const folder = changed('sd-vae-diffusers', (path) =>
      editTensors(join(path, 'diffusion_pytorch_model.safetensors'), (name, tensor) => [
        name.replace(/\.(to_q|to_k|to_v|to_out\.0)\./, (_, part: string) => `.${OLD[part]}.`),
        tensor,
      ]),
    )
    expect(await runParity(folder)).toMatchObject({ pass: true })
  })

  test('another scale', async () => {
    const folder = changed('sd-vae-diffusers', (path) =>
      editJson(join(path, 'config.json'), (json) => ({ ...json, scaling_factor: 1 })),
    )
    const { outputs } = await runParity(folder)
    expect(outputs.filter(({ pass }) => !pass).map(({ name }) => name)).toEqual(['decoded', 'image01'])
  })
})

describe.runIf(find('sd-schedulers'))('samplers', () => {
  test('another schedule, another end, another offset', async () => {
    for (const change of [{ beta_schedule: 'linear' }, { set_alpha_to_one: true }, { steps_offset: 0 }]) {
      const report = await runParity(changed('sd-schedulers', (folder) => withConfig(folder, change)))
      expect(report).toMatchObject({ pass: false, code: 'PARITY_FAILED' })
    }
  })

  test('one that is not known', async () => {
    const folder = changed('sd-schedulers', (path) => withConfig(path, { beta_schedule: 'sigmoid' }))
    expect(await runParity(folder)).toMatchObject({ pass: false, code: 'UNKNOWN_NAME' })
  })
})

describe.runIf(find('sd-pipeline-diffusers'))('pipeline', () => {
  test('another guidance, fewer steps', async () => {
    for (const change of [{ guidance: 2.9 }, { plms_steps: 4, ddim_steps: 5 }]) {
      const report = await runParity(changed('sd-pipeline-diffusers', (folder) => withConfig(folder, change)))
      expect(report.outputs.map(({ pass }) => pass)).toEqual([false, false, false, false])
    }
  })

  test('a part that is missing', async () => {
    const folder = changed('sd-pipeline-diffusers', (path) => rmSync(join(path, 'vae'), { recursive: true }))
    expect(readdirSync(folder)).not.toContain('vae')
    expect(await runParity(folder)).toMatchObject({ pass: false, code: 'FORMAT_UNSUPPORTED' })
  })
})

test.runIf(find('sd-unclip-ldm'))('unCLIP: another kind of prediction', async () => {
  const folder = changed('sd-unclip-ldm', (path) => withConfig(path, { noise_levels: [37, 0] }))
  const { outputs } = await runParity(folder)
  expect(outputs.filter(({ pass }) => !pass).map(({ name }) => name)).toEqual(['ddim_v_latents'])
})

test('four levels of two blocks, as published, on sizes that do not halve', async () => {
  const levels = STABLE_DIFFUSION_1.unet.levels.map((level, i) => ({ ...level, channels: 16 * (i + 1) }))
  const config = { ...STABLE_DIFFUSION_1.unet, levels, groups: 8, contextWidth: 12, timeWidth: 32 }
  const weights = randomWeights(unetShapes(config), () => 1, 1)
  const engine = await openEngine()
  using unet = await openGraph(engine, unetGraph(config, weights, EXACT.quantisation))
  using latents = engine.tensor('float32', [1, 4, 9, 7], new Float32Array(252).fill(0.5))
  using step = engine.tensor('int64', [1], BigInt64Array.of(500n))
  using text = engine.tensor('float32', [1, 3, 12])
  const { prediction } = await unet.run({ latents, step, text })
  using got = prediction!
  expect(got.dims).toEqual([1, 4, 9, 7])
  expect((got.data as Float32Array).every(Number.isFinite)).toBe(true)
})
