/** Text to speech from recipe to WAV: build, flash, run; a foreign graph behind the same interface. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { liveHandles } from '../src/core/disposal.js'
import { bytesOf } from '../src/core/tensor.js'
import { openEngine } from '../src/engine/index.js'
import { buildFirmware } from '../src/firmware/build.js'
import { flashImage } from '../src/firmware/flash.js'
import { findRecipe, type Recipe } from '../src/firmware/recipes.js'
import { decodeWav, encodeWav16 } from '../src/media/index.js'
import { type Event, type Firmware, openFirmware, type SpeakRequest } from '../src/runtime/index.js'
import { pinnedFile, sineVoice } from './helpers/foreign-voice.js'

const home = mkdtempSync(join(tmpdir(), 'm4fm-speak-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))

const tiny = findRecipe('tiny-random')
const only = (name: string, module: Recipe['modules']['TTS']): Recipe => ({ ...tiny, name, modules: { TTS: module! } })

const file = (name: string, content: string | Uint8Array) => pinnedFile(home, name, content)

let firmware: Firmware
afterEach(() => {
  firmware.dispose()
  expect(liveHandles()).toEqual({})
})

async function collect(request: SpeakRequest): Promise<Event<'speak'>[]> {
  const events: Event<'speak'>[] = []
  for await (const event of firmware.run(request)) events.push(event)
  return events
}
const speak = async (request: Omit<SpeakRequest, 'task'>) => (await firmware.ask({ task: 'speak', ...request })).output

describe('tiny-random', () => {
  beforeAll(async () => {
    await buildFirmware(only('voice', tiny.modules.TTS), { home })
    await flashImage(join(home, 'images', 'voice'), { home, engine: await openEngine() })
  })
  beforeEach(async () => {
    firmware = await openFirmware('device', { home })
  })

  test('each sentence comes as soon as it is there; together they are the answer', async () => {
    const events = await collect({ task: 'speak', text: 'One two. Three!' })
    expect(events.map(({ type }) => type)).toEqual(['sound', 'sound', 'answer'])
    const [first, second, answer] = events as [
      Extract<Event, { type: 'sound' }>,
      Extract<Event, { type: 'sound' }>,
      Extract<Event<'speak'>, { type: 'answer' }>,
    ]
    const { samples, sampleRateHz, durationS, sentences, unspoken } = answer.output
    expect(sampleRateHz).toBe(16_000)
    expect(Array.from(samples)).toEqual([...first.samples, ...second.samples])
    expect(durationS).toBeCloseTo(samples.length / 16_000, 6)
    expect(sentences.map(({ text }) => text)).toEqual(['One two.', 'Three!'])
    expect(sentences[1]!.startS - sentences[0]!.endS).toBeCloseTo(0.2, 6)
    expect(unspoken).toEqual([])
    expect(samples.some((value) => value !== 0)).toBe(true)
    expect(samples.every((value) => Math.abs(value) <= 1)).toBe(true)
    expect(answer.report).toMatchObject({
      path: 4,
      task: 'speak',
      random: true,
      modules: [{ role: 'TTS', architecture: 'vits', loaded: 'now' }],
      tokens: { spoken: 14 },
    })
    expect(answer.report.stages.map(({ name }) => name)).toEqual(['load', 'encode', 'synthesise'])
    const wav = decodeWav(encodeWav16(samples, sampleRateHz))
    expect(wav.sampleRateHz).toBe(16_000)
    expect(wav.samples[0]!.length).toBe(samples.length)
  })

  test('the same seed, the same sound; another seed or speed, another', async () => {
    const text = 'Hello there'
    const base = await speak({ text })
    expect((await speak({ text, seed: 0 })).samples).toEqual(base.samples)
    expect((await speak({ text, seed: 1 })).samples).not.toEqual(base.samples)
    const still = await speak({ text, variation: 0, seed: 7 })
    expect((await speak({ text, variation: 0, seed: 8 })).samples).toEqual(still.samples)
    expect((await speak({ text, variation: 0, speed: 0.5 })).durationS).toBeGreaterThan(still.durationS)
  })

  test.each([
    [{ text: ' \n' }, 'EMPTY_INPUT'],
    [{ text: 'x', speed: 9 }, 'INVALID_REQUEST'],
    [{ text: 'x', speed: Number.NaN }, 'INVALID_REQUEST'],
    [{ text: 'x', seed: -1 }, 'INVALID_REQUEST'],
    [{ text: 'x', variation: 3 }, 'INVALID_REQUEST'],
    [{ text: 'x', voice: 1 }, 'INVALID_REQUEST'],
    [{ text: 'x', voice: 'anna' }, 'INVALID_REQUEST'],
  ] as const)('%j is refused', async (request, code) => {
    await expect(speak(request)).rejects.toMatchObject({ code })
  })

  test('gives up when told to', async () => {
    const controller = new AbortController()
    const spoken: string[] = []
    const run = async () => {
      for await (const event of firmware.run({ task: 'speak', text: 'One. Two. Three.', signal: controller.signal })) {
        spoken.push(event.type)
        controller.abort()
      }
    }
    await expect(run()).rejects.toMatchObject({ code: 'ABORTED' })
    expect(spoken).toEqual(['sound'])
  })

  test('several voices, a character vocabulary, durations that run away', async () => {
    const { random } = tiny.modules.TTS!.weights as { random: { seed: number; config: Record<string, unknown> } }
    const recipe = only('voices', {
      ...tiny.modules.TTS!,
      weights: { random: { seed: 6, config: { ...random.config, speakers: 3, speakerWidth: 4, speakingRate: 1 } } },
      tokenizer: { from: 'characters', source: file('vocab.json', JSON.stringify({ _: 0, a: 1, b: 2, ' ': 3 })) },
    })
    await buildFirmware(recipe, { home })
    firmware.dispose()
    firmware = await openFirmware('voices', { home })
    const first = await speak({ text: 'Abba, 7 ab' })
    expect(first.unspoken).toEqual(['7'])
    expect((await speak({ text: 'Abba, 7 ab', voice: '2' })).samples).not.toEqual(first.samples)
    await expect(speak({ text: 'a', voice: 3 })).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
    await expect(speak({ text: '777.' })).rejects.toMatchObject({ code: 'EMPTY_INPUT', details: { unspoken: ['7'] } })

    const slow = { ...recipe, name: 'slow' }
    const config = { ...random.config, speakingRate: 1e-4 }
    await buildFirmware(
      { ...slow, modules: { TTS: { ...recipe.modules.TTS!, weights: { random: { seed: 6, config } } } } },
      { home },
    )
    firmware.dispose()
    firmware = await openFirmware('slow', { home })
    await expect(speak({ text: 'ab' })).rejects.toMatchObject({ code: 'CONTEXT_OVERFLOW' })
  })
})

describe('a foreign graph', () => {
  const table = (first: number) => bytesOf(Float32Array.from({ length: 8 }, (_, i) => first + i / 16))
  const module = (): NonNullable<Recipe['modules']['TTS']> => ({
    architecture: 'foreign',
    title: 'tiny foreign voice',
    weights: file('foreign.onnx', sineVoice()),
    config: {
      sampleRateHz: 24_000,
      idsInput: 'input_ids',
      waveformOutput: 'waveform',
      speedInput: 'speed',
      styleInput: 'style',
      styleWidth: 2,
      boundaryId: 0,
      maxSymbols: 5,
    },
    quantisations: { asIs: { default: 'fp32' } },
    tokenizer: {
      from: 'characters',
      source: file('symbols.json', JSON.stringify({ $: 0, a: 1, b: 2 })),
      blankId: null,
    },
    files: { 'voice.anna': file('anna.bin', table(0)), 'voice.ben': file('ben.bin', table(-0.5)) },
  })

  beforeAll(async () => {
    await buildFirmware(only('foreign', module()), { home })
    await flashImage(join(home, 'images', 'foreign'), { home, engine: await openEngine() })
  })
  beforeEach(async () => {
    firmware = await openFirmware('foreign', { home })
  })

  test('ids between boundaries, the style of so many symbols, the speed', async () => {
    const { samples, sampleRateHz } = await speak({ text: 'ab', speed: 2 })
    expect(sampleRateHz).toBe(24_000)
    const sines = [0, 1, 2, 0].map((id) => Math.sin(id / 2))
    const expected = [4 / 16, 5 / 16, ...sines]
    expect(samples.length).toBe(expected.length)
    for (const [i, value] of expected.entries()) expect(samples[i]).toBeCloseTo(value, 6)
    expect((await speak({ text: 'ababa', voice: 'ben' })).samples[0]).toBe(-0.5 + 6 / 16)
    expect(firmware.manifest.operators.types).toContain('Sin')
  })

  test('an unknown voice is refused before anything is said', async () => {
    await expect(speak({ text: 'a', voice: 'bob' })).rejects.toMatchObject({ code: 'UNKNOWN_NAME' })
  })

  test('a sentence of more symbols than the voice reads at once is said in pieces, none lost', async () => {
    const { output, report } = await firmware.ask({ task: 'speak', text: 'abababa' })
    // Two pieces: style and boundaries around five symbols, and around two.
    expect(output.samples.length).toBe(2 + 7 + (2 + 4))
    expect(output.sentences.map(({ text }) => text)).toEqual(['abababa'])
    expect(report.tokens.spoken).toBe(7)
  })

  test('a checkpoint that is no ONNX file, a voice of another width, no weights at all', async () => {
    const not = { ...module(), weights: file('x.safetensors', safetensors()) }
    await expect(buildFirmware(only('not', not), { home })).rejects.toMatchObject({ code: 'FORMAT_UNSUPPORTED' })
    const none = { ...module(), weights: { random: { seed: 1, config: {} } } }
    await expect(buildFirmware(only('none', none), { home })).rejects.toMatchObject({ code: 'NOT_AVAILABLE' })
    await buildFirmware(only('odd', { ...module(), files: { 'voice.odd': file('odd.bin', new Uint8Array(12)) } }), {
      home,
    })
    firmware.dispose()
    firmware = await openFirmware('odd', { home })
    await expect(speak({ text: 'a' })).rejects.toMatchObject({ code: 'IMAGE_INVALID' })
  })
})

/** A file of one tensor. */
function safetensors(): Uint8Array {
  const header = JSON.stringify({ x: { dtype: 'F32', shape: [1], data_offsets: [0, 4] } }).padEnd(64)
  const bytes = Buffer.alloc(8 + 64 + 4)
  bytes.writeBigUInt64LE(64n)
  bytes.write(header, 8)
  return bytes
}
