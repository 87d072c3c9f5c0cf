/** Whole requests on the tiny-random image: what an app sees of the runtime, on the real engine. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { AdapterTensors } from '../src/adapters/types.js'
import { liveHandles } from '../src/core/disposal.js'
import { type Engine, openEngine } from '../src/engine/index.js'
import { buildFirmware } from '../src/firmware/build.js'
import { type Image, openImage } from '../src/firmware/image.js'
import { findRecipe } from '../src/firmware/recipes.js'
import { encodeWav16 } from '../src/media/index.js'
import { type Event, type Firmware, openFirmware, type Request } from '../src/runtime/index.js'

const folder = mkdtempSync(join(tmpdir(), 'm4fm-runtime-'))
const imagePath = join(folder, 'tiny-random')
let image: Image

beforeAll(async () => {
  await buildFirmware(findRecipe('tiny-random'), { out: imagePath })
  image = await openImage(imagePath)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

async function collect<R extends Request>(firmware: Firmware, request: R): Promise<Event<R['task']>[]> {
  const events: Event<R['task']>[] = []
  for await (const event of firmware.run(request)) events.push(event)
  return events
}

const tone = (seconds: number, from = 0) =>
  Float32Array.from({ length: seconds * 16_000 }, (_, i) => (i < from * 16_000 ? 0 : Math.sin(i / 9) * 0.3))
const sound = (samples: Float32Array) => ({ samples, sampleRateHz: 16_000 })

describe('firmware', () => {
  let firmware: Firmware
  beforeEach(async () => {
    firmware = await openFirmware(imagePath)
  })
  afterEach(() => {
    firmware.dispose()
    expect(liveHandles()).toEqual({})
  })

  test('tokens stream, the answer comes last and says what woke up', async () => {
    const events = await collect(firmware, { task: 'generate', prompt: 'Hello', maxTokens: 6 })
    expect(events.map(({ type }) => type)).toEqual([...Array(6).fill('token'), 'answer'])
    const answer = events.at(-1)!
    if (answer.type !== 'answer') throw new Error('no answer')
    const { output, report } = answer
    expect(output.text).toBe(events.map((event) => (event.type === 'token' ? event.text : '')).join(''))
    expect(output.finishReason).toBe('length')
    expect(report).toMatchObject({
      path: 2,
      task: 'generate',
      random: true,
      modules: [{ role: 'backbone', architecture: 'llama', loaded: 'now' }],
      weightBytes: firmware.manifest.modules.backbone!.weightBytes,
      tokens: { prompt: 6, reused: 0, generated: 6, scored: 0, encoded: 0, transcribed: 0 },
      image: { name: 'tiny-random', digest: image.digest },
    })
    expect(report.stages.map(({ name }) => name)).toEqual(['load', 'prefill', 'decode'])
    for (const { ms } of report.stages) expect(ms).toBeGreaterThan(0)
    expect(firmware.loaded()).toEqual(['backbone'])
  })

  test('nothing runs before the events are read', () => {
    firmware.run({ task: 'generate', prompt: 'Hello', maxTokens: 6 })
    expect(firmware.loaded()).toEqual([])
  })

  test('one seed, one answer, on a warm cache too', async () => {
    const ask = async (seed: number) => {
      const sampling = { temperature: 1.5, seed }
      return (await firmware.ask({ task: 'generate', prompt: 'Once', maxTokens: 12, sampling })).output.text
    }
    const first = await ask(1)
    expect(await ask(2)).not.toBe(first)
    expect(await ask(1)).toBe(first)
  })

  test('a stop text ends the answer and is no part of it', async () => {
    const all = (await firmware.ask({ task: 'generate', prompt: 'abc', maxTokens: 20 })).output.text
    const stop = all.slice(5, 7)
    const { text, finishReason } = (
      await firmware.ask({ task: 'generate', prompt: 'abc', maxTokens: 20, stop: [stop] })
    ).output
    expect(text).toBe(all.slice(0, all.indexOf(stop)))
    expect(finishReason).toBe('stop')
  })

  test('complete answers in one line', async () => {
    const examples = [{ input: 'a', output: 'b' }]
    const { output } = await firmware.ask({ task: 'complete', input: 'c', examples, maxTokens: 20 })
    expect(output.text).not.toContain('\n')
    expect(output.text).toBe(output.text.trimStart())
  })

  test('a signal stops between two tokens: no token after it', async () => {
    const controller = new AbortController()
    let tokens = 0
    const reading = (async () => {
      for await (const event of firmware.run({
        task: 'generate',
        prompt: 'Hello',
        maxTokens: 100,
        signal: controller.signal,
      }))
        if (event.type === 'token' && ++tokens === 3) controller.abort(new Error('enough'))
    })()
    await expect(reading).rejects.toMatchObject({ code: 'ABORTED' })
    expect(tokens).toBe(3)
    // The module is free again.
    expect((await firmware.ask({ task: 'generate', prompt: 'x', maxTokens: 1 })).type).toBe('answer')
  })

  test('leaving the loop gives the module back', async () => {
    for await (const event of firmware.run({ task: 'generate', prompt: 'Hello', maxTokens: 100 }))
      if (event.type === 'token') break
    expect(await firmware.release('backbone')).toBe(true)
  })

  test('an aborted request never starts', async () => {
    await expect(firmware.ask({ task: 'generate', prompt: 'x', signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ABORTED',
    })
    expect(firmware.loaded()).toEqual([])
  })

  test('requests at once: loaded once, answered as if alone; one that waits can give up', async () => {
    const ask = (prompt: string, signal?: AbortSignal) =>
      firmware.ask({ task: 'generate', prompt, maxTokens: 5, signal })
    const controller = new AbortController()
    const [a, waiting, b] = [ask('one'), ask('two', controller.signal), ask('three')]
    controller.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'ABORTED' })
    const both = [await a, await b]
    expect(both.map(({ report }) => report.modules[0]!.loaded)).toEqual(['now', 'before'])
    expect((await ask('three')).output.text).toBe(both[1]!.output.text)
  })

  test('released, a module sleeps; the next request wakes it and answers the same', async () => {
    const ask = () => firmware.ask({ task: 'generate', prompt: 'Hello', maxTokens: 5 })
    const first = await ask()
    expect((await ask()).report.modules[0]).toMatchObject({ loaded: 'before', loadMs: 0 })
    expect(await firmware.release('backbone')).toBe(true)
    expect(await firmware.release('backbone')).toBe(false)
    expect(firmware.loaded()).toEqual([])
    expect(liveHandles()).toEqual({})
    const again = await ask()
    expect(again.report.modules[0]!.loaded).toBe('now')
    expect(again.output).toEqual(first.output)
  })

  test('too long a prompt is told, not cut', async () => {
    const request = { task: 'generate', prompt: 'x'.repeat(250), maxTokens: 10 } as const
    await expect(firmware.ask(request)).rejects.toMatchObject({
      code: 'CONTEXT_OVERFLOW',
      details: { promptTokens: 251, maxTokens: 10, contextLength: 256 },
    })
    // Exactly full is fine, and without maxTokens the answer gets what is left.
    expect((await firmware.ask({ ...request, maxTokens: 5 })).report.tokens).toMatchObject({
      prompt: 251,
      generated: 5,
    })
    const { prompt, task } = request
    expect((await firmware.ask({ task, prompt })).report.tokens.generated).toBe(5)
  })

  test.each<[string, Request, string]>([
    ['empty prompt', { task: 'generate', prompt: '' }, 'EMPTY_INPUT'],
    ['no prompt', { task: 'generate' } as unknown as Request, 'INVALID_REQUEST'],
    ['messages without a template', { task: 'generate', messages: [{ role: 'user', content: 'x' }] }, 'NOT_AVAILABLE'],
    ['no tokens wanted', { task: 'generate', prompt: 'x', maxTokens: 0 }, 'INVALID_REQUEST'],
    ['empty line', { task: 'complete', input: ' ' }, 'EMPTY_INPUT'],
    ['one label', { task: 'classify', text: 'x', labels: ['a'] }, 'INVALID_REQUEST'],
    ['a label twice', { task: 'classify', text: 'x', labels: ['a', 'a'] }, 'INVALID_REQUEST'],
    ['no calibration texts', { task: 'classify', text: 'x', labels: ['a', 'b'], calibration: [] }, 'EMPTY_INPUT'],
    ['a template without {}', { task: 'classify', text: 'x', labels: ['a', 'b'], template: 't' }, 'INVALID_REQUEST'],
    ['no texts', { task: 'embed', texts: [] }, 'EMPTY_INPUT'],
    ['an empty text', { task: 'embed', texts: ['a', ''] }, 'EMPTY_INPUT'],
    ['a text too long', { task: 'embed', texts: ['a'.repeat(127)] }, 'CONTEXT_OVERFLOW'],
    [
      'a description of no label',
      { task: 'match', texts: ['x'], labels: ['a', 'b'], descriptions: { c: 'd' } },
      'INVALID_REQUEST',
    ],
    ['no samples', { task: 'transcribe', sound: sound(new Float32Array(0)) }, 'EMPTY_INPUT'],
    ['a click', { task: 'transcribe', sound: sound(tone(0.05)) }, 'AUDIO_INVALID'],
    ['an mp3', { task: 'transcribe', sound: { wav: Uint8Array.of(0x49, 0x44, 0x33, 4, 0, 0) } }, 'AUDIO_INVALID'],
    ['no such task', { task: 'generat' } as unknown as Request, 'UNKNOWN_NAME'],
  ])('%s: %#', async (_, request, code) => {
    await expect(firmware.ask(request)).rejects.toMatchObject({ code })
  })

  test('classify gives all labels, and a calibration to keep', async () => {
    const request = { task: 'classify', text: 'Fine day', labels: ['good', 'bad', 'goodish'] } as const
    const adapter: AdapterTensors = { name: 'none', lora: new Map() }
    const { output, report } = await firmware.ask({ ...request, calibration: ['one text', 'another'] })
    const adapted = await firmware.ask({ ...request, adapter, calibration: ['one text', 'another'] })
    expect(adapted.report.adapter).toBe('none')
    expect(adapted.output.scores).toEqual(output.scores)
    expect(output.scores.map(({ label }) => label).sort()).toEqual(['bad', 'good', 'goodish'])
    expect(output.scores.reduce((sum, { probability }) => sum + probability, 0)).toBeCloseTo(1, 9)
    expect(report.tokens).toMatchObject({ generated: 0 })
    const kept = await firmware.ask({ ...request, calibration: output.calibration! })
    expect(kept.output).toEqual(output)
    expect(kept.report.tokens.scored * 3).toBe(report.tokens.scored)
    await expect(
      firmware.ask({ ...request, text: 'x', template: '{}\n', calibration: output.calibration! }),
    ).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
  })

  test('silence is an empty transcript, and nothing to answer', async () => {
    const silent = sound(new Float32Array(16_000))
    const { output } = await firmware.ask({ task: 'transcribe', sound: silent })
    expect(output).toEqual({
      text: '',
      durationS: 1,
      parts: [{ text: '', startS: 0, endS: 1, finishReason: 'silence', logProbability: 0, noSpeech: 1 }],
      confident: true,
    })
    const events: string[] = []
    const listening = (async () => {
      for await (const { type } of firmware.run({ task: 'listen', sound: silent })) events.push(type)
    })()
    await expect(listening).rejects.toMatchObject({
      code: 'EMPTY_INPUT',
      message: expect.stringMatching(/No speech heard/),
    })
    expect(events).toEqual(['transcript'])
    expect(firmware.loaded()).toEqual(['AUD-I'])
  })

  test('listen: transcript, tokens, answer; both modules in the report', async () => {
    const wav = encodeWav16(tone(1), 16_000)
    const events = await collect(firmware, { task: 'listen', sound: { wav }, template: '{}|', maxTokens: 3 })
    expect(events[0]).toMatchObject({ type: 'transcript' })
    const answer = events.at(-1)!
    if (answer.type !== 'answer') throw new Error('no answer')
    expect(answer.report.modules.map(({ role }) => role)).toEqual(['AUD-I', 'backbone'])
    expect(answer.report.path).toBe(1)
    expect(answer.output.transcript.text).toBe((events[0] as { text: string }).text)
    expect(answer.report.stages.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['encode', 'transcribe', 'prefill']),
    )
  })

  test('a long recording is heard in windows, a limit of tokens is told', async () => {
    const { output, report } = await firmware.ask({ task: 'transcribe', sound: sound(tone(40)), maxTokens: 4 })
    expect(output.parts).toHaveLength(2)
    expect(output.parts[0]!.endS).toBe(output.parts[1]!.startS)
    expect(output.parts[1]!.endS).toBe(40)
    for (const { finishReason } of output.parts) expect(finishReason).toBe('length')
    expect(report.tokens.transcribed).toBe(8)
  })

  test('embeddings: unit length, the same alone and in a batch, long texts by windows when asked', async () => {
    const texts = ['short', 'a somewhat longer text', 'x'.repeat(300)]
    const { output } = await firmware.ask({ task: 'embed', texts, window: 'mean' })
    for (const vector of output.embeddings) expect(Math.hypot(...vector)).toBeCloseTo(1, 5)
    const alone = await firmware.ask({ task: 'embed', texts: [texts[0]!] })
    expect(
      Math.max(...output.embeddings[0]!.map((v, i) => Math.abs(v - alone.output.embeddings[0]![i]!))),
    ).toBeLessThan(1e-5)
    const { similarities } = (await firmware.ask({ task: 'similarity', texts: ['a', 'b'], others: ['b'] })).output
    expect(similarities.map((row) => row.length)).toEqual([1, 1])
    expect(similarities[1]![0]).toBeCloseTo(1, 5)
  })

  test('match finds the label that says the same', async () => {
    const { output } = await firmware.ask({ task: 'match', texts: ['zebra'], labels: ['q', 'zebra'], template: '{}' })
    expect(output.matches[0]).toMatchObject({ label: 'zebra', scores: [{ similarity: expect.closeTo(1, 5) }, {}] })
  })

  test('disposed while a request runs: it ends, and nothing is left', async () => {
    const reading = (async () => {
      for await (const event of firmware.run({ task: 'generate', prompt: 'Hello', maxTokens: 100 }))
        if (event.type === 'token') firmware.dispose()
    })()
    await expect(reading).rejects.toMatchObject({ code: 'ABORTED' })
    expect(liveHandles()).toEqual({})
    await expect(firmware.ask({ task: 'embed', texts: ['x'] })).rejects.toMatchObject({ code: 'DISPOSED' })
  })

  test('an image without the module says what it has', async () => {
    const { backbone: _, ...modules } = image.manifest.modules
    const without = await openFirmware({ ...image, manifest: { ...image.manifest, modules } })
    expect(without.tasks()).toEqual(expect.arrayContaining(['transcribe', 'embed', 'similarity', 'match', 'speak']))
    expect(without.tasks()).not.toContain('listen')
    await expect(without.ask({ task: 'generate', prompt: 'x' })).rejects.toMatchObject({
      code: 'NOT_AVAILABLE',
      message: expect.stringMatching(/It has AUD-B, AUD-I, /),
    })
    without.dispose()
  })
})

describe('other engines', () => {
  // Full precision: each engine has its own kernels for the quantised kinds, and near ties of random weights then differ.
  let exact: Image
  beforeAll(async () => {
    const { path } = await buildFirmware(findRecipe('tiny-random'), {
      out: join(folder, 'exact'),
      quantisation: 'fp32',
    })
    exact = await openImage(path)
  })

  /** onnxruntime-web does not look for files: it gets their bytes. */
  const fromBytes = (engine: Engine): Engine => ({
    backend: engine.backend,
    version: engine.version,
    threads: engine.threads,
    tensor: (dtype, dims, data) => engine.tensor(dtype, dims, data),
    createSession(model, options) {
      if (!('path' in model)) return engine.createSession(model, options)
      const graphs = Object.values(exact.manifest.modules).flatMap((module) => Object.values(module.graphs))
      const { data } = graphs.find((graph) => graph.model === basename(model.path))!
      const read = (blob: string) => new Uint8Array(readFileSync(join(dirname(model.path), blob)))
      const externalData = Object.fromEntries(data.map((blob) => [blob, read(blob)]))
      return engine.createSession({ bytes: read(basename(model.path)), externalData }, options)
    },
  })

  test.each(['node', 'web'] as const)('%s says the same', async (backend) => {
    const request = { task: 'generate', prompt: 'Hello', maxTokens: 12 } as const
    const texts: string[] = []
    const other = await openEngine({ backend })
    for (const engine of [await openEngine(), backend === 'web' ? fromBytes(other) : other]) {
      const firmware = await openFirmware(exact, { engine })
      texts.push((await firmware.ask(request)).output.text)
      firmware.dispose()
    }
    expect(texts[1]).toBe(texts[0])
    expect(liveHandles()).toEqual({})
  })
})
