/**
 * `lite` on its real weights: quality, not texts, since kernels and processors round differently. Weights, image and slot are
 * made once in M4FM_HOME (or the default cache); M4FM_OFFLINE=1 leaves this file out.
 */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { wordErrorRate } from '../../src/bench/metrics/word-error-rate.js'
import type { DemoResult } from '../../src/cli/demo.js'
import { provision } from '../../src/cli/provision.js'
import { m4fmHome } from '../../src/core/files.js'
import { findRecipe } from '../../src/firmware/index.js'
import { type Calibration, type Firmware, type Outputs, openFirmware } from '../../src/runtime/index.js'
import { ensureCompiled, ROOT, runCli } from '../helpers/cli.js'
import { REVIEWS } from './reviews.js'

const MINUTES = 60_000
const sample = (name: string) => join(ROOT, 'samples', name)
const lines = async (name: string) => (await readFile(sample(name), 'utf8')).split('\n').filter((line) => line !== '')
const pairs = async (name: string) => (await lines(name)).map((line) => line.split('\t') as [string, string])
const normalise = (text: string) => text.toLowerCase().replace(/[^a-z' ]/g, '')

let firmware: Firmware

describe.skipIf(process.env.M4FM_OFFLINE === '1')('lite', () => {
  beforeAll(async () => {
    ensureCompiled()
    const onNote = (message: string) => process.stderr.write(`${message}\n`)
    const { path } = await provision(findRecipe('lite'), { home: m4fmHome(), onNote })
    firmware = await openFirmware(path)
  }, 20 * MINUTES)
  afterAll(() => firmware?.dispose())

  test('the demo answers all four kinds of question sensibly', { timeout: 5 * MINUTES }, async () => {
    const { code, json, stdout } = await runCli(['--json'], { program: join('scripts', 'demo.mjs') })
    expect(code).toBe(0)
    expect(stdout.trim().split('\n')).toHaveLength(1)
    const results = json<DemoResult[]>()
    for (const result of results) {
      expect(Object.keys(result).sort()).toEqual(['input', 'modules', 'ms', 'output', 'path', 'task'])
      expect(result.ms).toBeGreaterThan(0)
    }
    const of = (task: string) => results.find((result) => result.task === task)!
    expect(of('complete')).toMatchObject({ path: 2, modules: ['backbone'] })
    expect(JSON.stringify(of('complete').output)).toContain('Paris')
    expect(of('listen')).toMatchObject({ path: 1, modules: ['AUD-I', 'backbone'] })
    const heard = of('listen').output as { transcript: string; text: string }
    expect(heard.transcript).toMatch(/romeo and juliet/i)
    expect(heard.text).toMatch(/shakespeare/i)
    expect(of('classify')).toMatchObject({ path: 2, output: { label: 'negative' } })
    expect(of('similarity')).toMatchObject({ path: 3, modules: ['TXT'] })
    const [[near, far]] = (of('similarity').output as { similarities: [[number, number]] }).similarities
    expect(near).toBeGreaterThan(far + 0.2)
    const matches = results.filter(({ task }) => task === 'match')
    expect(matches.map(({ modules }) => modules[0])).toEqual(['IMG', 'AUD-B', 'IMU'])
    expect(matches.map(({ output }) => (output as { label: string }).label)).toEqual([
      'a sofa',
      'a person speaking',
      'a person is walking',
    ])
    expect(of('speak')).toMatchObject({ path: 4, modules: ['TTS'] })
    expect(of('paint')).toMatchObject({ path: 3, modules: ['TXT', 'IMG-gen'], output: { width: 28, height: 28 } })
    expect(of('upscale')).toMatchObject({ path: 4, modules: ['IMG-gen'], output: { width: 896, height: 672 } })
    expect(new Set(results.map(({ path }) => path))).toEqual(new Set([1, 2, 3, 4]))
    const bytesOf = (task: string) => readFile(join(ROOT, (of(task).output as { file: string }).file))
    expect((await bytesOf('speak')).subarray(0, 4).toString()).toBe('RIFF')
    expect((await bytesOf('paint')).subarray(1, 4).toString()).toBe('PNG')
  })

  test('reviews are classified at 75 % or better, calibrated on other texts', { timeout: 10 * MINUTES }, async () => {
    const examples = (await pairs('reviews.tsv')).map(([text, label]) => ({ text, label }))
    let calibration: readonly string[] | Calibration = await lines('reviews-unlabelled.txt')
    let right = 0
    for (const [text, label] of REVIEWS) {
      const { output }: { output: Outputs['classify'] } = await firmware.ask({
        task: 'classify',
        text,
        labels: ['positive', 'negative'],
        names: { input: 'Review', output: 'Sentiment' },
        examples,
        calibration,
      })
      calibration = output.calibration!
      if (output.label === label) right++
    }
    expect(REVIEWS).toHaveLength(20)
    expect(right).toBeGreaterThanOrEqual(15)
  })

  test('a recording is written down with at most one word in ten wrong', { timeout: 2 * MINUTES }, async () => {
    const said = 'it is of the first importance that the letter used should be fine in form'
    const { output } = await firmware.ask({ task: 'transcribe', sound: { wav: await readFile(sample('reading.wav')) } })
    expect(wordErrorRate(said, normalise(output.text).trim()).rate).toBeLessThanOrEqual(0.1)
  })

  test('meaning brings texts together, words alone do not', { timeout: 2 * MINUTES }, async () => {
    const near = [
      ['The doctor told him to rest.', 'His physician advised him to take it easy.'],
      ['Prices rose sharply last month.', 'There was strong inflation in the past few weeks.'],
      ['She bought a new bicycle.', 'She purchased another bike.'],
    ] as const
    const cosine = async (a: string, b: string) =>
      (await firmware.ask({ task: 'similarity', texts: [a], others: [b] })).output.similarities[0]![0]!
    for (const [i, [a, b]] of near.entries()) {
      const unrelated = near[(i + 1) % near.length]![1]
      const [close, distant] = [await cosine(a, b), await cosine(a, unrelated)]
      expect(close, a).toBeGreaterThan(0.4)
      expect(distant, a).toBeLessThan(0.3)
    }
  })

  test('the label of a news text is found by meaning alone', { timeout: 2 * MINUTES }, async () => {
    const { output } = await firmware.ask({
      task: 'match',
      texts: ['The striker scored twice in the second half.', 'The central bank raised interest rates.'],
      labels: ['sports', 'business', 'science'],
    })
    expect(output.matches.map(({ label }) => label)).toEqual(['sports', 'business'])
  })

  test('what the voice says is heard again, words that no dictionary has among it', {
    timeout: 4 * MINUTES,
  }, async () => {
    const text = 'The train leaves at noon. Margaret put her smartwatch on the kitchen table.'
    const said = await firmware.ask({ task: 'speak', text })
    expect(said.report).toMatchObject({ path: 4, modules: [{ role: 'TTS', architecture: 'foreign' }] })
    expect(said.output.sampleRateHz).toBe(24_000)
    expect(said.output.unspoken).toEqual([])
    const { output } = await firmware.ask({ task: 'transcribe', sound: said.output })
    expect(wordErrorRate(normalise(text), normalise(output.text)).rate).toBeLessThanOrEqual(0.1)
    const other = await firmware.ask({ task: 'speak', text: 'Good morning.', voice: 'bm_george' })
    expect(other.output.durationS).toBeGreaterThan(0.5)
    await expect(firmware.ask({ task: 'speak', text, voice: 'nobody' })).rejects.toMatchObject({ code: 'UNKNOWN_NAME' })
  })

  describe('giving up', () => {
    const long = 'The history of the lighthouse begins with fires on hills. '.repeat(90)

    test('while the prompt is read', { timeout: 2 * MINUTES }, async () => {
      await firmware.ask({ task: 'complete', input: 'warm up', maxTokens: 1 })
      const controller = new AbortController()
      const running = firmware.ask({ task: 'generate', prompt: long, maxTokens: 4, signal: controller.signal })
      setTimeout(() => controller.abort(), 200)
      await expect(running).rejects.toMatchObject({ code: 'ABORTED' })
    })

    test('while the answer is written, and the next request is served', { timeout: 2 * MINUTES }, async () => {
      const controller = new AbortController()
      const tokens: string[] = []
      const read = async () => {
        const prompt = 'Once upon a time there was a king who'
        for await (const event of firmware.run({ task: 'generate', prompt, maxTokens: 200, signal: controller.signal }))
          if (event.type === 'token' && tokens.push(event.text) === 3) controller.abort()
      }
      await expect(read()).rejects.toMatchObject({ code: 'ABORTED' })
      // The token that was being made when the signal came may still be told.
      expect(tokens.length).toBeLessThanOrEqual(4)
      const { output } = await firmware.ask({ task: 'generate', prompt: 'One, two, three,', maxTokens: 4 })
      expect(output.text).toMatch(/four/i)
    })

    test('a prompt beyond the context is refused with the numbers, never cut', { timeout: 2 * MINUTES }, async () => {
      await expect(firmware.ask({ task: 'generate', prompt: long.repeat(3) })).rejects.toMatchObject({
        code: 'CONTEXT_OVERFLOW',
        details: { contextLength: 2048 },
      })
    })
  })
})
