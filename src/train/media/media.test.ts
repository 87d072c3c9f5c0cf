/** Heads on a toy image: from files to a package that is served, the same way each time; and bad data, refused by name. */

import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { EVAL_FILE, HEAD_FILE, readAdapterPackage } from '../../adapters/index.js'
import { liveHandles } from '../../core/disposal.js'
import type { M4Error } from '../../core/errors.js'
import type { Engine } from '../../engine/index.js'
import { openEngine } from '../../engine/index.js'
import { type Image, openImage } from '../../firmware/image.js'
import { buildFirmware, findRecipe } from '../../firmware/index.js'
import { readHeadAdapter, usableHead } from '../../runtime/head-adapter.js'
import { type Item, openFirmware } from '../../runtime/index.js'
import type { Sides, TrainRequest } from '../course.js'
import { assertUsable, openDataSet, splitDataSet } from '../data/index.js'
import { trainOn } from '../trainer.js'
import { type MediaPlan, openMediaCourse } from './course.js'
import { parseMediaEvalLines, remeasureHead } from './eval-lines.js'
import { mediaItems } from './items.js'
import { foldScaling, scaled, scalingOf } from './standardise.js'
import { motionTable, picture, tone, writeMotions, writePictures, writeSounds } from './testing/synthetic.js'
import type { MediaFinding } from './unreadable.js'

let home: string
let image: Image
let engine: Engine

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'm4-media-'))
  engine = await openEngine()
  const toy = findRecipe('tiny-random')
  const { backbone, IMG, TXT, IMU } = toy.modules
  const modules = { backbone: backbone!, IMG: IMG!, TXT: TXT!, IMU: IMU!, 'AUD-B': toy.modules['AUD-B']! }
  image = await openImage((await buildFirmware({ ...toy, name: 'senses', modules }, { home, offline: true })).path)
})
afterAll(async () => {
  expect(liveHandles()).toEqual({})
  await rm(home, { recursive: true, force: true })
})

async function sidesOf(path: string): Promise<Sides> {
  const data = await openDataSet(path)
  assertUsable(data)
  const { train, eval: evaluation } = splitDataSet(data, { evalFraction: 0.25, seed: 0 })
  return { data, train, evaluation }
}

const request = (out: string, more: Partial<TrainRequest> = {}): TrainRequest => ({
  data: 'is given as sides',
  image,
  engine,
  out: join(home, out),
  options: { steps: 200 },
  ...more,
})

const trainMedia = async (asked: TrainRequest, sides: Sides) => {
  const report = await trainOn(asked, sides, (finding) => asked.onFinding?.(finding))
  return { ...report, plan: report.plan as MediaPlan }
}
const prepareMedia = (asked: TrainRequest, sides: Sides) => openMediaCourse(asked, sides, () => undefined)

/** As if it had been trained: what is measured on toy weights means nothing, but the way to it must run. */
const withMeasuring = (): Image => ({ ...image, manifest: { ...image.manifest, weights: 'pretrained' } })

async function trainingAccuracy(out: string, { train }: Sides) {
  const adapter = usableHead(await readHeadAdapter(join(home, out), image))
  using firmware = await openFirmware(image, { engine })
  let right = 0
  for await (const { sample, item } of mediaItems(train)) {
    const { output, report } = await firmware.ask({ task: 'match', items: [item], adapter })
    expect(report).toMatchObject({ path: 3, adapter: adapter.name, random: true })
    expect(report.modules.map(({ role }) => role)).toEqual([adapter.module])
    const { label, scores } = output.matches[0]!
    expect(scores.map((score) => score.label).sort()).toEqual([...adapter.labels].sort())
    expect(scores.reduce((sum, { probability }) => sum + probability!, 0)).toBeCloseTo(1, 6)
    if ('label' in sample && sample.label === label) right++
  }
  return right / train.samples.length
}

describe('from files to a served package', () => {
  test.each([
    ['pictures', 'IMG', ['blue', 'green', 'red'], (folder: string) => writePictures(folder, 16)],
    ['sounds', 'AUD-B', ['high', 'low'], (folder: string) => writeSounds(folder, 12)],
    ['motion', 'IMU', ['shaking', 'still'], (folder: string) => writeMotions(folder, 12)],
  ] as const)('%s', async (name, module, labels, write) => {
    const sides = await sidesOf(await write(join(home, `data-${name}`)))
    const findings: string[] = []
    const progress: string[] = []
    const report = await trainMedia(
      request(name, {
        onFinding: ({ code }) => void findings.push(code),
        onProgress: ({ task, done, total }) => void progress.push(`${task} ${done}/${total}`),
      }),
      sides,
    )
    expect(report.plan).toMatchObject({ task: { module, labels }, width: 32, trainSamples: sides.train.samples.length })
    expect(report.metric).toBeUndefined()
    expect(report.base).toBeUndefined()
    expect(findings).toContain('random-weights')
    expect(progress).toContain(`features ${sides.train.samples.length}/${sides.train.samples.length}`)
    const found = await readAdapterPackage(report.out)
    expect(found).toMatchObject({ digest: report.digest, bytes: report.bytes })
    expect(found.manifest).toMatchObject({ kind: 'head', path: 3, task: 'match', base: { module }, head: { labels } })
    expect(Object.keys(found.manifest.files)).toEqual([HEAD_FILE])
    expect(found.bytes).toBeLessThan(10_000)
    expect(report.fit.losses.at(-1)).toBeLessThan(report.fit.losses[0]! / 2)
    expect(await trainingAccuracy(name, sides)).toBeGreaterThanOrEqual(0.9)
  })

  test('the same seed gives the same bytes, another seed others; a hidden layer learns too', async () => {
    const sides = await sidesOf(join(home, 'data-pictures'))
    const head = async (out: string, options: TrainRequest['options']) => {
      await trainMedia(request(out, options ? { options } : {}), sides)
      return (await readAdapterPackage(join(home, out))).manifest.files[HEAD_FILE]!.sha256
    }
    const options = { steps: 60, hidden: [16], optimiser: { lr: 0.02 } }
    const first = await head('one', options)
    expect(await head('two', options)).toBe(first)
    expect(await head('three', { ...options, seed: 1 })).not.toBe(first)
    expect(await trainingAccuracy('one', sides)).toBeGreaterThanOrEqual(0.9)
  })

  test('float16 is measured and served as it is stored', async () => {
    const sides = await sidesOf(join(home, 'data-pictures'))
    await trainMedia(request('half', { options: { steps: 100, dtype: 'float16' } }), sides)
    expect(await trainingAccuracy('half', sides)).toBeGreaterThanOrEqual(0.9)
  })

  test('a run that was stopped goes on from its checkpoint and gives the same bytes', async () => {
    const sides = await sidesOf(join(home, 'data-sounds'))
    const whole = await trainMedia(request('whole'), sides)
    const stopper = new AbortController()
    const onStep = ({ step }: { readonly step: number }) => (step === 50 ? stopper.abort() : undefined)
    const stopped = trainMedia(request('parts', { signal: stopper.signal, onStep }), sides)
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' })
    const resumed = await trainMedia(request('parts'), sides)
    expect(resumed.fit.resumedAt).toBe(50)
    expect(resumed.fit.losses).toEqual(whole.fit.losses)
    const bytes = (out: string) => readFile(join(home, out, HEAD_FILE))
    expect(await bytes('parts')).toEqual(await bytes('whole'))
  })
})

describe('measuring', () => {
  test('beside zero-shot, or the majority where no text can be compared; samples are carried', async () => {
    const sides = await sidesOf(join(home, 'data-pictures'))
    const report = await trainMedia(request('measured', { image: withMeasuring() }), sides)
    expect(report.metric).toMatchObject({ name: 'accuracy', count: sides.evaluation.samples.length })
    expect(report.metric!.value).toBeGreaterThanOrEqual(0.9)
    expect(report.base).toMatchObject({ name: 'accuracy', how: 'zero-shot', count: report.metric!.count })
    const { modules, ...rest } = withMeasuring().manifest
    const { TXT: _, ...blind } = modules
    const withoutText: Image = { ...image, manifest: { ...rest, modules: blind } }
    const other = await trainMedia(request('blind', { image: withoutText, measured: 6 }), sides)
    expect(other.base).toMatchObject({ how: 'majority-class', count: 6 })
    // Three classes of one size, spread over all of them.
    expect(other.base!.value).toBeCloseTo(1 / 3, 6)
    expect(other.base!.stderr).toBeCloseTo(Math.sqrt(2 / 9 / 6), 6)

    const found = await readAdapterPackage(join(home, 'measured'))
    expect(found.manifest.metric).toEqual({
      name: 'accuracy',
      value: report.metric!.value,
      count: report.metric!.count,
      stderr: report.metric!.stderr,
    })
    const lines = parseMediaEvalLines(await readFile(join(home, 'measured', EVAL_FILE), 'utf8'))
    expect(lines).toHaveLength(report.metric!.count)
    const adapter = usableHead(await readHeadAdapter(join(home, 'measured')))
    using firmware = await openFirmware(image, { engine })
    const options = { folder: join(home, 'data-pictures') }
    const again = await remeasureHead(firmware, adapter, lines, options)
    expect(again).toEqual({ ...report.metric, from: 'data' })
    await firmware.release('IMG')
    // The head alone: no encoder wakes.
    const alone = await remeasureHead(firmware, adapter, lines)
    expect(alone).toEqual({ ...report.metric, from: 'features' })
    expect(firmware.loaded()).toEqual([])

    const short = lines.map(({ features: __, ...line }) => line)
    await expect(remeasureHead(firmware, adapter, short)).rejects.toMatchObject({ code: 'NOT_AVAILABLE' })
    const elsewhere = remeasureHead(firmware, adapter, lines, { folder: join(home, 'data-sounds') })
    await expect(elsewhere).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' })
    const swapped = lines.map((line, i) => ({ ...line, sha256: lines[(i + 1) % lines.length]!.sha256 }))
    await expect(remeasureHead(firmware, adapter, swapped, options)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' })
  })

  test('motion is measured again from its recordings', async () => {
    const sides = await sidesOf(join(home, 'data-motion'))
    const report = await trainMedia(request('moved', { image: withMeasuring() }), sides)
    const lines = parseMediaEvalLines(await readFile(join(home, 'moved', EVAL_FILE), 'utf8'))
    const adapter = usableHead(await readHeadAdapter(join(home, 'moved')))
    using firmware = await openFirmware(image, { engine })
    const again = await remeasureHead(firmware, adapter, lines, { folder: join(home, 'data-motion') })
    expect(again).toEqual({ ...report.metric, from: 'data' })
  })
})

describe('captions', () => {
  test('a projection finds pictures by their captions where nothing could before', async () => {
    const folder = join(home, 'data-captions')
    await writePictures(folder, 8)
    const shades = ['a wall of fire', 'grass', 'the sea']
    const rows = ['red', 'green', 'blue'].flatMap((colour, c) =>
      Array.from({ length: 8 }, (_, n) => `${colour}/00${n}.png,"${shades[c]}, number ${n}"`),
    )
    await writeFile(join(folder, 'captions.csv'), `image,caption\n${rows.join('\n')}\n`)
    const sides = await sidesOf(join(folder, 'captions.csv'))
    expect(sides.data.kind).toBe('image-caption')
    const report = await trainMedia(request('captions', { image: withMeasuring(), options: { steps: 150 } }), sides)
    expect(report.plan.task).toMatchObject({ head: 'retrieval', task: 'retrieve', module: 'IMG' })
    expect(report.metric).toMatchObject({ name: 'recall-at-1', count: sides.evaluation.samples.length })
    expect(report.base).toMatchObject({ name: 'recall-at-1', how: 'zero-shot' })
    const adapter = usableHead(await readHeadAdapter(join(home, 'captions')))
    using firmware = await openFirmware(image, { engine })
    const file = async (colour: 'red' | 'green' | 'blue') => ({ picture: { file: await picture(colour, 7) } })
    const gallery = [await file('red'), await file('green'), await file('blue')]
    const texts = shades.map((shade) => `${shade}, number 3`)
    const ask = { task: 'retrieve', texts, gallery, top: 1 } as const
    const { output } = await firmware.ask({ ...ask, adapter })
    expect(output.results.map(([first]) => first!.index)).toEqual([0, 1, 2])
    const lines = parseMediaEvalLines(await readFile(join(home, 'captions', EVAL_FILE), 'utf8'))
    expect((await remeasureHead(firmware, adapter, lines)).value).toBe(report.metric!.value)
    // Each type of head serves its own tasks.
    const match = firmware.ask({ task: 'match', items: [gallery[0]!], adapter })
    await expect(match).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
  })
})

describe('requests', () => {
  test('items of another module, labels beside the adapter, vectors of another width', async () => {
    const adapter = usableHead(await readHeadAdapter(join(home, 'pictures')))
    using firmware = await openFirmware(image, { engine })
    const item: Item = { picture: { file: await picture('red', 1) } }
    const { embeddings } = (await firmware.ask({ task: 'embed', items: [item] })).output
    const [seen, kept] = [item, { embedding: embeddings[0]! }].map((each) => ({
      task: 'match' as const,
      items: [each],
      adapter,
    }))
    expect((await firmware.ask(kept!)).output).toEqual((await firmware.ask(seen!)).output)
    const refused: [Parameters<typeof firmware.ask>[0], string][] = [
      [{ task: 'match', items: ['a text'], adapter }, 'INVALID_REQUEST'],
      [{ task: 'match', items: [{ sound: { wav: tone(300, 1, 1) } }], adapter }, 'INVALID_REQUEST'],
      [{ task: 'match', items: [item], labels: ['a', 'b'], adapter }, 'INVALID_REQUEST'],
      [{ task: 'match', items: [{ embedding: Float32Array.of(1, 0) }], adapter }, 'SHAPE_MISMATCH'],
      [{ task: 'retrieve', texts: ['a'], gallery: [item], adapter }, 'INVALID_REQUEST'],
    ]
    for (const [ask, code] of refused) await expect(firmware.ask(ask)).rejects.toMatchObject({ code })
  })
})

describe('bad data', () => {
  const folder = (name: string) => join(home, `bad-${name}`)
  const findingsOf = async (sides: Sides, out: string) => {
    const findings: MediaFinding[] = []
    const onFinding: TrainRequest['onFinding'] = (finding) => {
      if (finding.code === 'unreadable-sample') findings.push(finding)
    }
    const report = await trainMedia(request(out, { onFinding }), sides)
    return { findings, report }
  }

  test('one class', async () => {
    await mkdir(join(folder('one'), 'red'), { recursive: true })
    for (let n = 0; n < 4; n++) await writeFile(join(folder('one'), 'red', `${n}.png`), await picture('red', n))
    await expect(sidesOf(folder('one'))).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
    const data = await openDataSet(folder('one'))
    await expect(prepareMedia(request('x'), { data, train: data, evaluation: data })).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
    })
  })

  test('a picture that cannot be decoded is left out by name; too many are an error', async () => {
    const path = await writePictures(folder('pictures'), 10)
    const broken = join(path, 'red', '004.png')
    await writeFile(broken, (await picture('red', 9)).subarray(0, 90))
    const sides = await sidesOf(path)
    const { findings, report } = await findingsOf(sides, 'mended')
    expect(findings).toEqual([expect.objectContaining({ file: broken, message: expect.stringContaining('004.png') })])
    const { manifest } = await readAdapterPackage(report.out)
    const trained = sides.train.samples.filter((sample) => 'path' in sample && sample.path !== broken).length
    expect(manifest.training!.data.samples).toBe(trained)
    for (const n of [0, 1, 2, 3]) await writeFile(join(path, 'blue', `00${n}.png`), `no picture ${n}`)
    const error = (await findingsOf(await sidesOf(path), 'broken').catch((e: unknown) => e)) as M4Error
    expect(error).toMatchObject({ code: 'FORMAT_INVALID' })
    expect(error.details.files).toContain(join(path, 'blue', '000.png'))
  })

  test('a class of which nothing can be read', async () => {
    const path = await writePictures(folder('class'), 20)
    for (let n = 2; n < 20; n++) await rm(join(path, 'blue', `${String(n).padStart(3, '0')}.png`))
    for (const n of [0, 1]) await writeFile(join(path, 'blue', `00${n}.png`), `no picture ${n}`)
    const error = (await findingsOf(await sidesOf(path), 'broken').catch((e: unknown) => e)) as M4Error
    expect(error).toMatchObject({ code: 'FORMAT_INVALID', details: { label: 'blue' } })
  })

  test('a sound that is too short, and one that is none', async () => {
    const path = await writeSounds(folder('sounds'), 12)
    const [short, none] = [join(path, 'low', '3.wav'), join(path, 'high', '5.wav')]
    await writeFile(short, tone(220, 0.05, 1))
    await writeFile(none, 'RIFF no sound')
    const { findings } = await findingsOf(await sidesOf(path), 'sounds-mended')
    expect(findings.map(({ file }) => file).sort()).toEqual([none, short].sort())
  })

  test('a recording shorter than the window, and NaN in motion', async () => {
    const path = await writeMotions(folder('motion'), 12)
    const short = join(path, 'still', '2.csv')
    await writeFile(short, motionTable(20, 0, 1))
    const { findings } = await findingsOf(await sidesOf(path), 'motion-mended')
    expect(findings).toEqual([expect.objectContaining({ file: short, message: expect.stringContaining('40') })])
    await writeFile(join(path, 'still', '3.csv'), motionTable(120, 0, 1).replace(/9\.\d+/, 'NaN'))
    await expect(sidesOf(path)).rejects.toMatchObject({
      code: 'FORMAT_INVALID',
      message: expect.stringContaining('3.csv'),
    })
  })

  test('a label that is measured on and never trained on counts as wrong', async () => {
    const sides = await sidesOf(join(home, 'data-pictures'))
    const path = join(folder('unseen'), 'violet')
    await mkdir(path, { recursive: true })
    for (let n = 0; n < 12; n++) await writeFile(join(path, `${n}.png`), await picture('blue', 500 + n))
    const unseen = await openDataSet(folder('unseen'), { use: 'eval' })
    const evaluation = {
      ...sides.evaluation,
      samples: [...sides.evaluation.samples, ...unseen.samples],
      files: [...sides.evaluation.files, ...unseen.files],
    }
    const report = await trainMedia(request('unseen', { image: withMeasuring() }), { ...sides, evaluation })
    expect(report.metric).toMatchObject({ count: 24 })
    expect(report.metric!.value).toBeLessThanOrEqual(0.5)
    expect(report.fit.evaluations.every(({ loss }) => Number.isFinite(loss))).toBe(true)
  })

  test('what the image or the data cannot do', async () => {
    const sides = await sidesOf(join(home, 'data-pictures'))
    const { IMG: _, ...modules } = image.manifest.modules
    const blind: Image = { ...image, manifest: { ...image.manifest, modules } }
    await expect(prepareMedia(request('x', { image: blind }), sides)).rejects.toMatchObject({
      code: 'NOT_AVAILABLE',
      details: { needs: 'IMG' },
    })
    const lora = prepareMedia(request('x', { options: { kind: 'lora' } }), sides)
    await expect(lora).rejects.toMatchObject({ code: 'NOT_AVAILABLE' })
    const large = prepareMedia(request('x', { options: { hidden: [80_000] } }), sides)
    await expect(large).rejects.toMatchObject({ details: { reason: 'adapter-too-large' } })
  })

  test('cancelled while features are computed', async () => {
    const sides = await sidesOf(join(home, 'data-pictures'))
    const stopper = new AbortController()
    const onProgress = ({ done }: { readonly done: number }) => (done === 5 ? stopper.abort() : undefined)
    const stopped = trainMedia(request('x', { signal: stopper.signal, onProgress }), sides)
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' })
  })
})

describe('scaling', () => {
  test('folded into the first layer, outputs are the same', () => {
    const data = Float32Array.of(0.9, 0.1, 0.5, 0.901, 0.1, -0.5, 0.902, 0.1, 0.25)
    const features = { count: 3, dims: [3], data }
    const scaling = scalingOf(features)
    const inside = scaled(features, scaling).data
    for (let c = 0; c < 3; c++) {
      const column = [0, 1, 2].map((i) => inside[3 * i + c]!)
      expect(column.reduce((a, b) => a + b)).toBeCloseTo(0, 4)
      // The second dimension is the same in all items, and stays 0.
      expect(column.reduce((sum, x) => sum + (x * x) / 3, 0)).toBeCloseTo(c === 1 ? 0 : 1, 3)
    }
    const [weight, bias] = [Float32Array.of(0.5, 2, -1), Float32Array.of(0.3)]
    const folded = foldScaling(weight, bias, scaling)
    const product = (w: Float32Array, b: Float32Array, x: Float32Array, i: number) =>
      w.reduce((sum, each, c) => sum + each * x[3 * i + c]!, b[0]!)
    for (let i = 0; i < 3; i++)
      expect(product(folded.weight, folded.bias, data, i)).toBeCloseTo(product(weight, bias, inside, i), 3)
  })
})
