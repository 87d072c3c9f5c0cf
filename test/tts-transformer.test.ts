/** A TTS Transformer and its vocoder from recipe to sound: build, flash, speak. */

import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, expect, test } from 'vitest'
import type { Source } from '../src/checkpoint/sources/index.js'
import { liveHandles } from '../src/core/disposal.js'
import { openEngine } from '../src/engine/index.js'
import { buildFirmware } from '../src/firmware/build.js'
import { flashImage } from '../src/firmware/flash.js'
import type { ModuleRecipe, Recipe } from '../src/firmware/recipes.js'
import { HIFI_GAN_V1, TTS_TRANSFORMER_LJSPEECH } from '../src/models/index.js'
import { type Firmware, openFirmware } from '../src/runtime/index.js'

const home = mkdtempSync(join(tmpdir(), 'm4fm-tts-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))

let firmware: Firmware | undefined
afterEach(() => {
  firmware?.dispose()
  firmware = undefined
  expect(liveHandles()).toEqual({})
})

const stack = { width: 16, feedForward: 32, heads: 2, layers: 2, normFirst: true }
const config = {
  ...TTS_TRANSFORMER_LJSPEECH,
  vocabulary: 259,
  encoder: { ...stack, convLayers: 2, convKernel: 5 },
  decoder: stack,
  prenet: { layers: 2, width: 8, dropout: 0.5 },
  postnet: { layers: 2, width: 8, kernel: 3 },
}
const VOICE: ModuleRecipe = {
  architecture: 'tts-transformer',
  title: 'random TTS Transformer',
  weights: { random: { seed: 1, config } },
  quantisations: { fp16: { default: 'fp16' }, fp32: { default: 'fp32' } },
  tokenizer: { from: 'tiny' },
  graphs: {
    vocode: {
      architecture: 'hifi-gan',
      title: 'random HiFi-GAN',
      weights: { random: { seed: 2, config: { ...HIFI_GAN_V1, width: 32 } } },
      quantisation: { default: 'fp16' },
    },
  },
}
const recipeOf = (name: string, TTS: ModuleRecipe): Recipe => ({
  name,
  version: '0.1.0',
  rollbackIndex: 1,
  about: 'for tests',
  modules: { TTS },
})

test('build, flash with its self-test, speak', async () => {
  await buildFirmware(recipeOf('speaker', VOICE), { home })
  await flashImage(join(home, 'images', 'speaker'), { home, engine: await openEngine() })
  firmware = await openFirmware('device', { home })
  const { output, report } = await firmware.ask({ task: 'speak', text: 'One two. Three!' })
  expect(output.sampleRateHz).toBe(22_050)
  // One step of four frames a sentence, and the pause between them.
  expect(output.samples.length).toBe(2 * 4 * 256 + Math.round(0.2 * 22_050))
  expect(output.sentences.map(({ text }) => text)).toEqual(['One two.', 'Three!'])
  expect(output.samples.some((value) => value !== 0)).toBe(true)
  expect(report).toMatchObject({ path: 4, modules: [{ role: 'TTS', architecture: 'tts-transformer' }] })
  expect(report.stages.map(({ name }) => name)).toEqual(['load', 'encode', 'synthesise'])
  const again = await firmware.ask({ task: 'speak', text: 'One two. Three!' })
  expect(again.output.samples).toEqual(output.samples)
  await expect(firmware.ask({ task: 'speak', text: 'One', speed: 2 })).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
  })
})

test('phonemes by the dictionary of the checkpoint, and no tokenizer', async () => {
  const { tokenizer: _, ...rest } = VOICE
  const dictionary = file('vocab.txt', 'AH0 900\nHH 80\nL 70\nOW1 6\n')
  await buildFirmware(recipeOf('phonemes', { ...rest, files: { dictionary } }), { home })
  firmware = await openFirmware('phonemes', { home })
  const { output, report } = await firmware.ask({ task: 'speak', text: 'HH AH0 L OW1' })
  expect(output.unspoken).toEqual([])
  expect(report.tokens.spoken).toBe(4)
  await expect(firmware.ask({ task: 'speak', text: 'hello' })).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
    details: { unknown: ['hello'] },
  })
})

test('a voice without its vocoder, or with one of other bands, does not open', async () => {
  const { graphs, ...mute } = VOICE
  await buildFirmware(recipeOf('mute', mute), { home })
  firmware = await openFirmware('mute', { home })
  await expect(firmware.ask({ task: 'speak', text: 'a' })).rejects.toMatchObject({ code: 'IMAGE_INVALID' })
  firmware.dispose()
  const vocode = {
    ...graphs!.vocode!,
    weights: { random: { seed: 2, config: { ...HIFI_GAN_V1, width: 32, melBands: 40 } } },
  }
  await buildFirmware(recipeOf('other', { ...VOICE, graphs: { vocode } }), { home })
  firmware = await openFirmware('other', { home })
  await expect(firmware.ask({ task: 'speak', text: 'a' })).rejects.toMatchObject({ code: 'IMAGE_INVALID' })
})

/** A pinned file on this disk. */
function file(name: string, content: string): Source {
  const path = join(home, name)
  writeFileSync(path, content)
  return {
    name,
    sha256: createHash('sha256').update(content).digest('hex'),
    bytes: Buffer.byteLength(content),
    licence: 'CC0-1.0',
    uris: [`file:${path}`],
  }
}
