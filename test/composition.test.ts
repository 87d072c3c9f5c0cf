/**
 * Whole firmware images out of checkpoints in their original layouts, asked as an app would ask them, against what the reference
 * implementations answered to the same files: recipe → build → image → modules → path → answer.
 */

import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import type { SourceFolder } from '../src/checkpoint/sources/folder.js'
import type { Source } from '../src/checkpoint/sources/types.js'
import { liveHandles } from '../src/core/index.js'
import { buildFirmware, type ModuleRecipe, type Recipe, type TokenizerRecipe } from '../src/firmware/index.js'
import { openCase } from '../src/parity/case.js'
import { openFirmware } from '../src/runtime/index.js'

const GOLDENS = fileURLToPath(new URL('../../shared/goldens', import.meta.url))
const home = mkdtempSync(join(tmpdir(), 'm4-composition-'))
afterAll(() => {
  rmSync(home, { recursive: true, force: true })
  expect(liveHandles()).toEqual({})
})

const read = (...path: string[]) => new Uint8Array(readFileSync(join(GOLDENS, ...path)))

function source(...path: string[]): Source {
  const bytes = read(...path)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  return { uris: [`file:${join(GOLDENS, ...path)}`], sha256, bytes: bytes.length, licence: 'CC0-1.0' }
}

const exact = { fp32: { default: 'fp32' } } as const

const tower = (
  name: string,
  modality: 'vision' | 'text' | 'audio' | 'imu',
  config: Record<string, unknown>,
  tokenizer?: TokenizerRecipe,
): ModuleRecipe => ({
  architecture: `imagebind-${modality}`,
  title: modality,
  weights: source(name, 'imagebind_huge.pth'),
  config,
  quantisations: exact,
  ...(tokenizer ? { tokenizer } : {}),
})

async function open(name: string, modules: Recipe['modules']) {
  const recipe = { name, version: '1.0.0', rollbackIndex: 0, about: '', modules }
  const { path, manifest } = await buildFirmware(recipe, { home, offline: true })
  expect(manifest.weights).toBe('pretrained')
  return openFirmware(path)
}

describe.runIf(existsSync(join(GOLDENS, 'e2e-imagebind')))('ImageBind from one file', () => {
  test('a picture, a sound, motion and texts: embeddings and shares of the reference', async () => {
    const name = 'e2e-imagebind'
    using golden = openCase(join(GOLDENS, name))
    const output = (of: string) =>
      golden.expected(golden.outputs.find((each) => each.name === of)!).data as Float32Array
    const { config } = golden
    const clip: TokenizerRecipe = { from: 'clip', source: source('shared', 'bpe_simple_vocab_16e6.txt.gz') }
    using firmware = await open(name, {
      IMG: tower(name, 'vision', config),
      TXT: tower(name, 'text', config, clip),
      'AUD-B': tower(name, 'audio', config),
      IMU: tower(name, 'imu', config),
    })
    const texts = config.texts as string[]
    const motion = Array.from(golden.input('imu').data as Float32Array)
    const rows = Array.from({ length: 2000 }, (_, n) => Array.from({ length: 6 }, (_, c) => motion[2000 * c + n]!))
    const items = [
      { picture: { file: read(name, 'image.png') } },
      { sound: { wav: read(name, 'audio.wav') } },
      { motion: { rows, sampleRateHz: 400 } },
    ]
    const { embeddings } = (await firmware.ask({ task: 'embed', items: [...items, ...texts] })).output
    const expected = ['vision', 'audio', 'imu'].map((kind) => output(`${kind}_embedding`))
    const all = output('text_embedding')
    for (let i = 0; i < texts.length; i++) expected.push(all.slice(16 * i, 16 * (i + 1)))
    for (const [i, want] of expected.entries()) {
      const cosine = want.reduce((sum, value, k) => sum + value * embeddings[i]![k]!, 0) / Math.hypot(...want)
      expect(cosine).toBeGreaterThan(0.9999)
    }
    const { matches } = (await firmware.ask({ task: 'match', items: items.slice(0, 2), labels: texts, template: '{}' }))
      .output
    for (const [i, kind] of ['vision', 'audio'].entries()) {
      const want = output(`${kind}_x_text_softmax`)
      for (const { label, probability } of matches[i]!.scores)
        expect(Math.abs(probability! - want[texts.indexOf(label)]!)).toBeLessThan(0.03)
    }
  })
})

describe.runIf(existsSync(join(GOLDENS, 'e2e-pandagpt')))('PandaGPT from three files', () => {
  test('a picture and a question: the text of the reference', async () => {
    const name = 'e2e-pandagpt'
    using golden = openCase(join(GOLDENS, name))
    const { config, json } = golden
    const llama: SourceFolder = {
      files: { 'config.json': source(name, 'config.json'), 'model.safetensors': source(name, 'model.safetensors') },
    }
    using firmware = await open(name, {
      IMG: tower(name, 'vision', config.imagebind as Record<string, unknown>),
      backbone: {
        architecture: 'llama',
        title: 'LLaMA',
        weights: llama,
        quantisations: exact,
        tokenizer: { from: 'file', source: source('shared', 'llama-tokenizer.model') },
        graphs: {
          project: {
            architecture: 'projection',
            title: 'delta',
            weights: source(name, 'pytorch_model.pt'),
            quantisation: exact.fp32,
          },
        },
      },
    })
    const { output, report } = await firmware.ask({
      task: 'describe',
      items: [{ picture: { file: read(name, 'image.png') } }],
      question: String(config.question),
      maxTokens: Number(config.maxNewTokens),
    })
    expect(output.text).toBe(json.text)
    expect(report).toMatchObject({ path: 1, modules: [{ role: 'IMG' }, { role: 'backbone' }] })
  })
})
