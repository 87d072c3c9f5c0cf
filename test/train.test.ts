/** Whole training runs on the tiny-random image: what an adapter author sees, bad input included. */

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  peftFiles,
  readAdapterPackage,
  readPeftAdapter,
  usableAdapter,
  writeAdapterPackage,
} from '../src/adapters/index.js'
import type { TrainedPart } from '../src/adapters/trained.js'
import { openCheckpoint } from '../src/checkpoint/index.js'
import { M4Error } from '../src/core/errors.js'
import { type Engine, openEngine } from '../src/engine/index.js'
import { buildFirmware } from '../src/firmware/build.js'
import { type Image, openImage } from '../src/firmware/image.js'
import { findRecipe } from '../src/firmware/recipes.js'
import { openFirmware } from '../src/runtime/index.js'
import {
  planTraining,
  requireEffect,
  revalidateAdapter,
  type TrainFinding,
  type TrainOptions,
  type TrainReport,
  type TrainRequest,
  trainAdapter,
} from '../src/train/index.js'

const folder = mkdtempSync(join(tmpdir(), 'm4fm-train-'))
const at = (...names: string[]) => join(folder, ...names)
let engine: Engine
let image: Image

const SAMPLES = [
  ['the sun is warm', 'good'],
  ['a fine day', 'good'],
  ['I like it', 'good'],
  ['what a joy', 'good'],
  ['rain and cold', 'bad'],
  ['this hurts', 'bad'],
  ['no fun at all', 'bad'],
  ['I hate it', 'bad'],
] as const

function csv(name: string, rows: readonly (readonly [string, string])[]): string {
  const path = at(name)
  writeFileSync(path, `text,label\n${rows.map((cells) => cells.map((cell) => `"${cell}"`).join(',')).join('\n')}\n`)
  return path
}

const OPTIONS: TrainOptions = { steps: 12, batch: 4, seed: 5, maxTokens: 64, rank: 4, evalEvery: 6 }
let runs = 0
const request = (more: Partial<TrainRequest> = {}): TrainRequest => ({
  data: at('data.csv'),
  image,
  engine,
  home: folder,
  out: at(`run-${runs++}`),
  options: OPTIONS,
  ...more,
})
const weights = (report: TrainReport) => readFileSync(join(report.out, 'adapter_model.safetensors'))
const usableValues = ({ out }: TrainReport) => {
  using checkpoint = openCheckpoint(join(out, 'adapter_model.safetensors'))
  return [...checkpoint.tensors.values()].flatMap((tensor) => [...tensor.float32()])
}
const codes = (findings: readonly TrainFinding[]) => findings.map(({ code }) => code)

beforeAll(async () => {
  engine = await openEngine()
  await buildFirmware(findRecipe('tiny-random'), { out: at('tiny-random') })
  image = await openImage(at('tiny-random'))
  csv('data.csv', SAMPLES)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

async function failure(run: Promise<unknown>): Promise<M4Error> {
  const error = await run.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(M4Error)
  return error as M4Error
}

describe('what training makes', () => {
  test.each([
    'lora',
    'prompt',
    'prefix',
  ] as const)('%s: the loss falls, and the package is what the runtime takes', async (kind) => {
    const report = await trainAdapter(
      request({ options: { ...OPTIONS, kind, steps: 30, tokens: 4, patience: 0, optimiser: { lr: 0.02 } } }),
    )
    const { losses } = report.fit
    expect(losses).toHaveLength(30)
    const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length
    expect(mean(losses.slice(-4))).toBeLessThan(mean(losses.slice(0, 4)) * (kind === 'prefix' ? 0.9 : 0.7))
    // Random weights: nothing is measured, and that is said.
    expect([report.metric, codes(report.findings)]).toEqual([undefined, expect.arrayContaining(['random-weights'])])
    const found = await readAdapterPackage(report.out)
    expect(found.manifest).toMatchObject({
      kind,
      task: 'classify',
      path: 2,
      prompt: { labels: ['bad', 'good'] },
      base: { abi: image.manifest.abi.id, image: { name: 'tiny-random', digest: image.digest } },
    })
    const adapter = usableAdapter(readPeftAdapter(report.out, image.manifest.abi))
    using firmware = await openFirmware(image, { engine })
    const ask = async (used?: typeof adapter) =>
      (
        await firmware.ask({
          task: 'classify',
          text: 'the sun is warm',
          labels: ['bad', 'good'],
          template: found.manifest.prompt!.template,
          adapter: used,
        })
      ).output
    const [plain, adapted] = [await ask(), await ask(adapter)]
    expect(adapted.scores).not.toEqual(plain.scores)
    // The total probability of the labels is what was trained; random weights give them next to none.
    const total = (scores: typeof plain.scores) => scores.reduce((sum, { logProbability }) => sum + logProbability, 0)
    expect(total(adapted.scores)).toBeGreaterThan(total(plain.scores))
    expect(readFileSync(report.plot, 'utf8')).toMatch(/^<svg .*polyline/s)
    expect(existsSync(`${report.out}.training/checkpoint.safetensors`)).toBe(false)
  })

  test('one seed gives the same bytes, in parts or not, another seed does not', async () => {
    const [first, again, other] = [
      await trainAdapter(request()),
      await trainAdapter(request()),
      await trainAdapter(request({ options: { ...OPTIONS, seed: 6 } })),
    ]
    expect(weights(again).equals(weights(first))).toBe(true)
    expect(weights(other).equals(weights(first))).toBe(false)
  })

  test('batches run in parts give the same losses', async () => {
    // In float32: int8 products share a zero point among the rows that are run together.
    await buildFirmware(findRecipe('tiny-random'), { out: at('tiny-fp32'), quantisation: 'fp32' })
    const float = await openImage(at('tiny-fp32'))
    const [whole, parts] = [
      await trainAdapter(request({ image: float, options: { ...OPTIONS, tokensAtOnce: 4096 } })),
      await trainAdapter(request({ image: float, options: { ...OPTIONS, tokensAtOnce: 32 } })),
    ]
    whole.fit.losses.forEach((loss, i) => {
      expect(parts.fit.losses[i]).toBeCloseTo(loss, 4)
    })
  })

  test('layers computed again on the way back give the same adapter', async () => {
    const [kept, again] = [
      await trainAdapter(request()),
      await trainAdapter(request({ options: { ...OPTIONS, recompute: true } })),
    ]
    expect(again.fit.losses).toEqual(kept.fit.losses)
    expect(again.plan.memory.activationBytes).toBeLessThan(kept.plan.memory.activationBytes)
  })

  test('prompts with answers, and chats, train generation', async () => {
    const path = at('answers.jsonl')
    const row = (prompt: string, answer: string) => JSON.stringify({ prompt, answer })
    writeFileSync(path, ['one', 'two', 'three', 'four'].map((word) => row(`Say ${word}`, word)).join('\n'))
    const report = await trainAdapter(request({ data: path, options: { ...OPTIONS, template: '{} ' } }))
    expect((await readAdapterPackage(report.out)).manifest).toMatchObject({
      task: 'generate',
      prompt: { template: '{} ' },
    })
  })

  test('a plan says what would be done and does nothing', async () => {
    const given = request()
    const plan = await planTraining(given)
    const { abi } = image.manifest
    expect(plan.parameters).toBe(
      2 * abi.layers * 4 * abi.width + abi.layers * 4 * (abi.sites.qkv!.parts[0]!.out + abi.sites.qkv!.parts[2]!.out),
    )
    expect(plan.memory.totalBytes).toBeGreaterThan(plan.memory.activationBytes)
    expect(existsSync(given.out)).toBe(false)
  })
})

describe('runs that are broken off', () => {
  test('go on to the same result', async () => {
    const whole = await trainAdapter(request())
    const given = request({ checkpointSeconds: 0 })
    const stop = new AbortController()
    const onStep = ({ step }: { step: number }) => {
      if (step === 7) stop.abort()
    }
    const error = await failure(trainAdapter({ ...given, signal: stop.signal, onStep }))
    expect(error.code).toBe('ABORTED')
    expect(existsSync(given.out)).toBe(false)
    const steps: number[] = []
    const report = await trainAdapter({ ...given, onStep: ({ step }) => steps.push(step) })
    expect([steps[0], report.fit.resumedAt]).toEqual([8, 7])
    expect(report.fit.losses).toEqual(whole.fit.losses)
    expect(weights(report).equals(weights(whole))).toBe(true)
  })

  test('with other options are another run, unless they begin afresh', async () => {
    const given = request({ checkpointSeconds: 0 })
    const stop = new AbortController()
    await failure(trainAdapter({ ...given, signal: stop.signal, onStep: ({ step }) => step === 3 && stop.abort() }))
    const changed = { ...given, options: { ...OPTIONS, rank: 2 } }
    const error = await failure(trainAdapter(changed))
    expect([error.code, error.message]).toEqual(['INVALID_REQUEST', expect.stringContaining('--fresh')])
    expect((await trainAdapter({ ...changed, fresh: true })).fit.resumedAt).toBeUndefined()
  })
})

describe('bad input', () => {
  test('one class only', async () => {
    const error = await failure(trainAdapter(request({ data: csv('one.csv', SAMPLES.slice(0, 4)) })))
    expect([error.code, error.message]).toEqual(['FORMAT_INVALID', expect.stringMatching(/one class|single|"good"/i)])
  })

  test('labels that are measured on and never trained on are said', async () => {
    const evalData = csv('unseen.csv', [...SAMPLES.slice(0, 5), ['so so', 'neutral']])
    const findings: TrainFinding[] = []
    await trainAdapter(request({ evalData, onFinding: (found) => findings.push(found) }))
    expect(codes(findings)).toEqual(expect.arrayContaining(['unseen-label', 'duplicate-across-splits']))
  })

  test('empty texts are left out, rows that repeat stay on one side, both said', async () => {
    const data = csv('mixed.csv', [...SAMPLES, ['', 'good'], SAMPLES[0], SAMPLES[4]])
    const findings: TrainFinding[] = []
    const report = await trainAdapter(request({ data, onFinding: (found) => findings.push(found) }))
    expect(codes(findings)).toEqual(expect.arrayContaining(['empty-text', 'duplicate', 'duplicate-across-splits']))
    expect(report.plan.trainSamples + report.plan.evalSamples).toBe(10)
  })

  test('a sample of 100 000 characters is cut, and said', async () => {
    const data = csv('long.csv', [...SAMPLES, ['word '.repeat(20_000), 'good']])
    const report = await trainAdapter(request({ data, options: { ...OPTIONS, steps: 4, batch: 8 } }))
    expect(codes(report.findings)).toEqual(expect.arrayContaining(['long-sample', 'truncated']))
  })

  test('an answer that cannot fit is an error with its row', async () => {
    const path = at('long.jsonl')
    writeFileSync(
      path,
      ['a', 'b', 'c'].map((word) => JSON.stringify({ prompt: word, answer: `${word} word`.repeat(200) })).join('\n'),
    )
    const error = await failure(trainAdapter(request({ data: path, options: { ...OPTIONS, template: '{} ' } })))
    expect([error.code, error.message]).toEqual(['CONTEXT_OVERFLOW', expect.stringMatching(/^Row \d/)])
  })

  test('a file that changes on the way ends the run, typed', async () => {
    const data = csv('changing.csv', SAMPLES)
    const onStep = ({ step }: { step: number }) => {
      if (step === 3) writeFileSync(data, readFileSync(data, 'utf8').replace('warm', 'cold'))
    }
    const error = await failure(
      trainAdapter(request({ data, onStep, options: { ...OPTIONS, steps: 40, patience: 0 } })),
    )
    expect(error.code).toBe('DIGEST_MISMATCH')
  })

  test('a rate that runs away is found, and the best parameters are kept', async () => {
    // The first step of a warm-up has rate 0: its look at the loss is the base's. The next one is thrown far away.
    const diverging = {
      ...OPTIONS,
      evalEvery: 1,
      patience: 0,
      optimiser: { lr: 1e38, schedule: 'linear', warmupSteps: 5 },
    } as const
    const report = await trainAdapter(request({ options: diverging }))
    expect([report.fit.stopped, report.fit.step]).toEqual(['diverged', 1])
    expect(codes(report.findings)).toContain('diverged')
    const values = usableValues(report)
    expect(values.length).toBeGreaterThan(0)
    expect(values.every(Number.isFinite)).toBe(true)
    const error = await failure(trainAdapter(request({ options: { ...diverging, evalEvery: 60 } })))
    expect([error.code, error.message]).toEqual(['INVALID_REQUEST', expect.stringContaining('--lr')])
  })

  test('what will not fit in memory is refused before it is tried, with what would', async () => {
    const plan = await planTraining(request())
    const error = await failure(trainAdapter(request({ availableBytes: plan.memory.totalBytes - 1 })))
    expect([error.code, error.message]).toEqual(['OUT_OF_MEMORY', expect.stringContaining('--tokens-at-once')])
    const none = await failure(trainAdapter(request({ availableBytes: 1000 })))
    expect(none.message).toContain('No setting')
  })

  test('a checkpoint that cannot be written ends the run, typed, with nothing half written', async () => {
    const given = request({ checkpointSeconds: 0 })
    // A folder stands where the checkpoint goes: as a full disk does, the write fails after the step.
    mkdirSync(join(`${given.out}.training`, 'checkpoint.safetensors', 'in the way'), { recursive: true })
    const error = await failure(trainAdapter({ ...given, fresh: true }))
    expect(['IO', 'DISK_FULL']).toContain(error.code)
    expect(existsSync(given.out)).toBe(false)
  })

  test('an adapter larger than allowed is refused before training', async () => {
    const options = { ...OPTIONS, kind: 'prompt', tokens: 512 } as const
    const { abi } = image.manifest
    const fits = abi.width * 512 * 4 <= 10_000_000
    if (fits) expect((await planTraining(request({ options }))).adapterBytes).toBe(abi.width * 512 * 4)
    const error = await failure(planTraining(request({ options: { ...OPTIONS, kind: 'prompt', tokens: 5000 } })))
    expect(error.code).toBe('INVALID_REQUEST')
  })

  test('an adapter made for another base is refused with both names', async () => {
    const report = await trainAdapter(request())
    const manifest = {
      ...image.manifest,
      weights: 'pretrained',
      abi: { ...image.manifest.abi, id: 'abi-0000000000000000' },
    } as const
    const answer = await revalidateAdapter({ adapter: report.out, image: { ...image, manifest }, engine, home: folder })
    expect(answer).toMatchObject({ verdict: 'refuse', evaluation: undefined })
    expect(answer.reason).toContain('abi-0000000000000000')
  })

  test('an adapter whose tensors are not zero but change no answer by a bit is refused', async () => {
    const { abi } = image.manifest
    const site = abi.sites.qkv!
    const [place] = site.parts
    const part = (value: number): TrainedPart => ({
      layer: 0,
      site: 'qkv',
      part: 'q',
      rank: 1,
      alpha: 1,
      a: new Float32Array(site.in).fill(value),
      b: new Float32Array(place!.out).fill(value),
    })
    const pretend: Image = { ...image, manifest: { ...image.manifest, weights: 'pretrained' } }
    const write = async (name: string, value: number) => {
      const facts = {
        ...(await readAdapterPackage(at('kept'))).manifest,
        name,
        files: undefined,
        format: undefined,
        training: undefined,
      }
      const peft = peftFiles(abi, { kind: 'lora', rsLora: false, parts: [part(value)] })
      const evaluation = [{ input: 'the sun is warm', expected: 'good' }]
      return writeAdapterPackage(at(name), { facts: JSON.parse(JSON.stringify(facts)), peft, evaluation })
    }
    await trainAdapter(request({ out: at('kept') }))
    await write('tiny', 1e-18)
    const error = await failure(requireEffect({ adapter: at('tiny'), image: pretend, engine }))
    expect([error.code, error.details.reason]).toEqual(['INVALID_REQUEST', 'same-output'])
    await write('large', 0.5)
    await requireEffect({ adapter: at('large'), image: pretend, engine })
  })

  test('unknown parts, ranks and templates', async () => {
    const failing: [TrainOptions, string][] = [
      [{ parts: ['x'] }, 'UNKNOWN_NAME'],
      [{ parts: ['q', 'q'] }, 'INVALID_REQUEST'],
      [{ rank: 0 }, 'INVALID_REQUEST'],
      [{ alpha: 0 }, 'INVALID_REQUEST'],
      [{ template: 'no place' }, 'INVALID_REQUEST'],
      [{ maxTokens: 1_000_000 }, 'INVALID_REQUEST'],
    ]
    for (const [options, code] of failing)
      expect(
        (await failure(planTraining(request({ options: { ...OPTIONS, ...options } })))).code,
        JSON.stringify(options),
      ).toBe(code)
  })
})
