/** A voice that reads phonemes: dictionary, letters by a graph, long and odd texts; ports and symbols as Kokoro's. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { liveHandles } from '../src/core/disposal.js'
import { bytesOf } from '../src/core/tensor.js'
import { buildFirmware } from '../src/firmware/build.js'
import { findRecipe, type Recipe } from '../src/firmware/recipes.js'
import type { LetterToSoundConfig } from '../src/models/index.js'
import { type Event, type Firmware, openFirmware, type SpeakRequest } from '../src/runtime/index.js'
import { KOKORO_SYMBOLS } from '../src/tokenizers/index.js'
import { EXCERPT } from '../src/tokenizers/phonemes/testing.js'
import { pinnedFile, sineVoice } from './helpers/foreign-voice.js'

const home = mkdtempSync(join(tmpdir(), 'm4fm-phonemes-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))
const file = (name: string, content: string | Uint8Array) => pinnedFile(home, name, content)

const SOUNDS = ['', 'AA1', 'AA0', 'K', 'T']
const LETTERS: LetterToSoundConfig = {
  letters: 28,
  letterWidth: 4,
  window: 3,
  width: 8,
  feedForward: 8,
  layers: 1,
  heads: 2,
  longest: 32,
  sounds: SOUNDS.length,
}
const ROWS = 8

const voice = (sounds = JSON.stringify(SOUNDS)): NonNullable<Recipe['modules']['TTS']> => ({
  architecture: 'foreign',
  title: 'tiny voice of phonemes',
  weights: file('voice.onnx', sineVoice()),
  config: {
    sampleRateHz: 24_000,
    idsInput: 'input_ids',
    waveformOutput: 'waveform',
    speedInput: 'speed',
    styleInput: 'style',
    styleWidth: 2,
    boundaryId: 0,
    maxSymbols: 510,
  },
  quantisations: { asIs: { default: 'fp32' } },
  tokenizer: { from: 'alphabet', vocabulary: KOKORO_SYMBOLS, blankId: null },
  graphs: {
    letters: {
      architecture: 'letter-to-sound',
      title: 'random letters',
      weights: { random: { seed: 3, config: LETTERS } },
      quantisation: { default: 'fp16' },
      embedding: 'fp16',
    },
  },
  files: {
    'voice.anna': file('anna.bin', bytesOf(new Float32Array(ROWS * 2))),
    pronunciations: file('dictionary.txt', EXCERPT),
    sounds: file(`sounds-${sounds.length}.json`, sounds),
  },
})

const build = (name: string, module: NonNullable<Recipe['modules']['TTS']>) =>
  buildFirmware({ ...findRecipe('tiny-random'), name, modules: { TTS: module } }, { home })

let firmware: Firmware
beforeAll(async () => {
  await build('letters', voice())
  const { graphs: _, ...rules } = voice()
  await build('rules', rules)
})
beforeEach(async () => {
  firmware = await openFirmware('letters', { home })
})
afterEach(() => {
  firmware.dispose()
  expect(liveHandles()).toEqual({})
})

const speak = async (request: Omit<SpeakRequest, 'task'>) => (await firmware.ask({ task: 'speak', ...request })).output

/** Ids of the symbols that were said, out of sin(id) of the tiny voice. */
const symbolsOf = async (text: string) => {
  const { report } = await firmware.ask({ task: 'speak', text })
  return report.tokens.spoken
}

describe('words that the dictionary lacks', () => {
  test('are read by the graph, known ones are not', async () => {
    expect(await symbolsOf('Hello world')).toBe([...'həlˈO wˈɜɹld'].length)
    const { samples } = await speak({ text: 'Zxqv' })
    // Of four letters one has the main stress; the graph knows no sound but those of the list.
    const ids = Array.from(samples.slice(3, -1), (sample) =>
      Object.values(KOKORO_SYMBOLS).findIndex((id) => Math.abs(Math.sin(id) - sample) < 1e-5),
    ).map((at) => Object.keys(KOKORO_SYMBOLS)[at])
    expect(ids.join('')).toMatch(/^[ɑktT]*ˈɑ[ɑktT]*$/)
    expect((await speak({ text: 'Zxqv' })).samples).toEqual(samples)
  })

  test('of hundreds of letters have a sound, too', async () => {
    const { durationS } = await speak({ text: 'zx'.repeat(150) })
    expect(durationS).toBeGreaterThan(0)
  })

  test('are read by rules where the module has no graph', async () => {
    firmware.dispose()
    firmware = await openFirmware('rules', { home })
    expect(await symbolsOf('ship')).toBe([...'ʃˈɪp'].length)
  })

  test.each(['["", "AA1"]', '{}', 'no JSON'])('a list of sounds %j is IMAGE_INVALID', async (sounds) => {
    const name = `bad-${sounds.length}`
    await build(name, voice(sounds))
    firmware.dispose()
    firmware = await openFirmware(name, { home })
    await expect(speak({ text: 'hello' })).rejects.toMatchObject({ code: 'IMAGE_INVALID' })
  })
})

describe('long texts', () => {
  const run = async (text: string) => {
    const events: Event<'speak'>[] = []
    for await (const event of firmware.run({ task: 'speak', text })) events.push(event)
    const answer = events.at(-1) as Extract<Event<'speak'>, { type: 'answer' }>
    return { sounds: events.length - 1, output: answer.output, spoken: answer.report.tokens.spoken }
  }

  test('5,000 characters without a mark: pieces as they come, nothing lost', async () => {
    const words = Array.from({ length: 1000 }, (_, i) => ['cat', 'play', 'hello', 'dog'][i % 4])
    const { sounds, output } = await run(words.join(' '))
    expect(sounds).toBeGreaterThan(10)
    expect(output.sentences.map(({ text }) => text).join(' ')).toBe(words.join(' '))
  })

  test('a sentence whose numbers become more symbols than the voice reads at once', async () => {
    const { sounds, spoken } = await run(`${'1234567 '.repeat(40)}.`)
    expect(sounds).toBe(1)
    expect(spoken).toBeGreaterThan(2 * 510)
  })

  test('letters of one word without end', async () => {
    const { output } = await run('a'.repeat(5000))
    expect(output.sentences.map(({ text }) => text).join('')).toBe('a'.repeat(5000))
  })
})

describe('texts that are none', () => {
  test.each([
    ['!!! … — ???'],
    ['😀🎉'],
    ['你好，世界。'],
    ['Привет'],
    ['\u0000\ud800'],
    ['   .  '],
  ])('%j has no sound', async (text) => {
    await expect(speak({ text })).rejects.toMatchObject({ code: 'EMPTY_INPUT' })
  })

  test('100,000 characters without a sound are refused in a few seconds', async () => {
    await expect(speak({ text: '你'.repeat(100_000) })).rejects.toMatchObject({ code: 'EMPTY_INPUT' })
  })

  test('what has no sound is said, what is spelt out is not missing', async () => {
    const { unspoken } = await speak({ text: 'Get 3 café 你好 now' })
    expect(unspoken).toEqual(['你', '好'])
  })

  test.each([
    [{ text: '' }, 'EMPTY_INPUT'],
    [{ text: 'hello', voice: 'nobody' }, 'UNKNOWN_NAME'],
    [{ text: 'hello', voice: '__proto__' }, 'UNKNOWN_NAME'],
    [{ text: 'hello', speed: 0.2 }, 'INVALID_REQUEST'],
    [{ text: 'hello', speed: 4.1 }, 'INVALID_REQUEST'],
  ] as const)('%j is %s', async (request, code) => {
    await expect(speak(request)).rejects.toMatchObject({ code })
  })
})
