/** Heads on patches of a toy encoder: from annotations to a package that is served and measured again; and bad data, refused by name. */

import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readAdapterPackage } from '../../adapters/index.js'
import { liveHandles } from '../../core/disposal.js'
import type { Engine } from '../../engine/index.js'
import { openEngine } from '../../engine/index.js'
import { type Image, openImage } from '../../firmware/image.js'
import { buildFirmware, findRecipe } from '../../firmware/index.js'
import { readHeadAdapter, usableHead } from '../../runtime/head-adapter.js'
import { openFirmware } from '../../runtime/index.js'
import type { TrainRequest } from '../course.js'
import { evaluateAdapter } from '../evaluate.js'
import { revalidateAdapter } from '../revalidate.js'
import { trainAdapter } from '../trainer.js'
import { writeScenes } from './testing/scenes.js'

let home: string
let image: Image
let engine: Engine
const at = (...names: string[]) => join(home, ...names)

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'm4-objects-'))
  engine = await openEngine()
  const toy = findRecipe('tiny-random')
  const modules = { backbone: toy.modules.backbone!, IMG: toy.modules.IMG!, 'AUD-B': toy.modules['AUD-B']! }
  const built = await openImage((await buildFirmware({ ...toy, name: 'eyes', modules }, { home, offline: true })).path)
  // As if it had been trained: what is measured on toy weights means nothing, but the way to it must run.
  image = { ...built, manifest: { ...built.manifest, weights: 'pretrained' } }
  await writeScenes(at('scenes'), 50)
}, 60_000)
afterAll(async () => {
  expect(liveHandles()).toEqual({})
  await rm(home, { recursive: true, force: true })
})

const request = (data: string, more: Partial<TrainRequest> = {}): TrainRequest => ({
  data: at(data),
  image,
  engine,
  out: at(`adapter-${data.replaceAll('/', '-')}`),
  ...more,
  options: { steps: 200, evalFraction: 0.2, optimiser: { lr: 0.02 }, ...more.options },
})

const headOf = async (path: string) => usableHead(await readHeadAdapter(path, image))

describe('learned, served, measured', () => {
  test.each([
    ['boxes.json', 'detect', 'boxes', 'map@0.5', 0.8],
    ['places.json', 'keypoints', 'key-points', 'pck@0.1', 0.6],
    ['shapes.json', 'segment', 'segmentation', 'miou', 0.5],
    ['mattes.csv', 'segment', 'matting', 'mse', 0.15],
    ['points.json', 'count', 'counting', 'mae', 0.5],
  ] as const)('%s → %s', async (data, task, type, metric, bound) => {
    const report = await trainAdapter(request(`scenes/${data}`))
    const { manifest, bytes } = await readAdapterPackage(report.out)
    expect(bytes).toBeLessThan(200_000)
    expect(manifest).toMatchObject({
      task,
      path: 3,
      kind: 'head',
      head: { type, in: 32, patches: { rows: 2, columns: 2 } },
      metric: { name: metric, count: 10 },
    })
    const isError = metric === 'mse' || metric === 'mae'
    const better = (a: number, b: number) => (isError ? a < b : a > b)
    expect(better(report.metric!.value, bound), `${metric} ${report.metric!.value}`).toBe(true)
    if (task !== 'detect') {
      expect(report.base).toMatchObject({ how: 'best-constant' })
      expect(better(report.metric!.value, report.base!.value)).toBe(true)
    }
    const again = { adapter: report.out, image, engine }
    await expect(evaluateAdapter(again)).rejects.toMatchObject({
      code: 'NOT_AVAILABLE',
      hint: expect.stringContaining('--data'),
    })
    const evaluated = await evaluateAdapter({ ...again, data: at('scenes') })
    expect(evaluated).toMatchObject({ fit: 'same', measured: { name: metric, value: report.metric!.value } })
    expect(await revalidateAdapter({ ...again, home, data: at('scenes') })).toMatchObject({ verdict: 'keep' })
  })

  test('answers are in dots of the picture, and the report says what woke', async () => {
    using firmware = await openFirmware(image, { engine })
    const coco = JSON.parse(await readFile(at('scenes/boxes.json'), 'utf8'))
    const truth = coco.annotations.filter((each: { image_id: number }) => each.image_id === 3)
    const picture = { file: await readFile(at('scenes/3.png')) }
    const detected = await firmware.ask({
      task: 'detect',
      picture,
      adapter: await headOf(at('adapter-scenes-boxes.json')),
    })
    expect(detected.report).toMatchObject({ path: 3, task: 'detect', adapter: 'adapter-scenes-boxes.json' })
    expect(detected.report.modules.map(({ role }) => role)).toEqual(['IMG'])
    expect(detected.output.boxes).toHaveLength(truth.length)
    for (const { label, box } of detected.output.boxes) {
      const near = truth.find(({ bbox }: { bbox: number[] }) => bbox.every((side, i) => Math.abs(side - box[i]!) < 5))
      expect(coco.categories[near.category_id].name).toBe(label)
    }
    const segmented = await firmware.ask({
      task: 'segment',
      picture,
      adapter: await headOf(at('adapter-scenes-shapes.json')),
    })
    if (!('mask' in segmented.output)) throw new Error('no mask')
    const { width, height, labels, mask } = segmented.output
    expect([width, height, labels, mask.length]).toEqual([56, 54, ['background', 'blue', 'red'], 56 * 54])
    const counted = await firmware.ask({
      task: 'count',
      picture,
      adapter: await headOf(at('adapter-scenes-points.json')),
    })
    const { rows, columns, cellDots, values } = counted.output.density
    expect([rows, columns, cellDots]).toEqual([2, 2, 28])
    expect(values.reduce((a, b) => a + b, 0)).toBeCloseTo(counted.output.count, 4)
    expect(Math.round(counted.output.count)).toBe(truth.length)
  })

  test('float16 and a hidden layer; the same seed, the same bytes', async () => {
    const options = { steps: 60, hidden: [8], dtype: 'float16' as const }
    const digests: string[] = []
    for (const out of ['a', 'b']) {
      const report = await trainAdapter(request('scenes/points.json', { out: at(out), options }))
      digests.push((await readAdapterPackage(report.out)).manifest.files['head.safetensors']!.sha256)
    }
    expect(digests[0]).toBe(digests[1])
    expect((await headOf(at('a'))).layers.map(({ in: inner, out }) => [inner, out])).toEqual([
      [32, 8],
      [8, 1],
    ])
  })

  test('another task than the usual one: boxes are counted', async () => {
    const report = await trainAdapter(
      request('scenes/boxes.json', { out: at('counter'), options: { task: 'count', steps: 150 } }),
    )
    expect(report.plan.task).toMatchObject({ task: 'count' })
    expect((await readAdapterPackage(report.out)).manifest.training!.recipe).toMatchObject({ task: 'count' })
  })
})

describe('what does not fit', () => {
  const edited = async (name: string, from: string, edit: (coco: Coco) => object) => {
    const coco = JSON.parse(await readFile(at('scenes', from), 'utf8'))
    await writeFile(at('scenes', name), JSON.stringify({ ...coco, ...edit(coco) }))
    return `scenes/${name}`
  }
  interface Coco {
    readonly images: readonly { readonly id: number }[]
    readonly annotations: readonly { readonly category_id: number; readonly image_id: number }[]
    readonly categories: readonly { readonly id: number; readonly name: string }[]
  }
  const short = { steps: 5 }

  test('an image whose encoder gives no patches', async () => {
    const { IMG } = image.manifest.modules
    const { encode } = IMG!.graphs
    const outputs = encode!.outputs.filter((output) => !output.startsWith('patches'))
    const graphs = { ...IMG!.graphs, encode: { ...encode!, outputs } }
    const modules = { ...image.manifest.modules, IMG: { ...IMG!, graphs } }
    const blind = { ...image, manifest: { ...image.manifest, modules } }
    await expect(trainAdapter({ ...request('scenes/boxes.json'), image: blind })).rejects.toMatchObject({
      code: 'NOT_AVAILABLE',
      details: { needs: expect.stringContaining('patches') },
    })
  })

  test('no annotations, no pictures, a category that nothing has, a name that is taken', async () => {
    const empty = await edited('empty.json', 'boxes.json', () => ({ annotations: [] }))
    await expect(trainAdapter(request(empty))).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
    const gone = await edited('gone.json', 'boxes.json', ({ images }) => ({
      images: images.map((each, i) => (i === 4 ? { ...each, file_name: 'nowhere.png' } : each)),
    }))
    await expect(trainAdapter(request(gone))).rejects.toThrow(/nowhere\.png/)
    const spare = await edited('spare.json', 'boxes.json', ({ categories }) => ({
      categories: [...categories, { id: 9, name: 'green' }],
    }))
    const report = await trainAdapter(request(spare, { options: short }))
    expect(report.plan.task.labels).toEqual(['blue', 'red'])
    const taken = await edited('taken.json', 'shapes.json', ({ categories }) => ({
      categories: categories.map((each) => ({ ...each, name: each.id ? 'background' : each.name })),
    }))
    await expect(trainAdapter(request(taken))).rejects.toThrow(/"background"/)
  })

  test('one class alone is found as well', async () => {
    const one = await edited('one.json', 'boxes.json', ({ annotations }) => ({
      annotations: annotations.filter(({ category_id }) => category_id === 0),
    }))
    const report = await trainAdapter(request(one, { options: { steps: 200 } }))
    expect(report.plan.task.labels).toEqual(['red'])
    expect(report.metric!.value).toBeGreaterThan(0.7)
  })

  test('boxes that leave the picture are cut, those beside it are not learned', async () => {
    const outside = await edited('outside.json', 'boxes.json', ({ annotations }) => ({
      annotations: annotations.map((each, i) => ({
        ...each,
        ...(i === 0 ? { bbox: [-10, -10, 30, 30] } : i === 1 ? { bbox: [300, 300, 20, 20] } : {}),
      })),
    }))
    const { findings, fit } = await trainAdapter(request(outside, { options: short }))
    expect(findings.filter(({ code }) => code === 'box-outside')).toHaveLength(2)
    expect(fit.losses.every(Number.isFinite)).toBe(true)
  })

  test('points are looked for in the box of their thing; a thing beside the picture is left out', async () => {
    const boxed = await edited('boxed.json', 'places.json', ({ annotations }) => ({
      annotations: annotations.map((each, i) => ({ ...each, bbox: i === 2 ? [300, 300, 9, 9] : [2, 2, 52, 50] })),
    }))
    const report = await trainAdapter(request(boxed, { options: short }))
    expect(report.plan.trainSamples + report.plan.evalSamples).toBe(49)
    const lines = (await readFile(join(report.out, 'eval.jsonl'), 'utf8')).trimEnd().split('\n')
    expect(lines.map((line) => JSON.parse(line).box)).toEqual(lines.map(() => [2, 2, 52, 50]))
  })

  test('tasks without what they need, and tasks of other data', async () => {
    const task = (data: string, name: 'detect' | 'keypoints' | 'segment' | 'count') =>
      trainAdapter(request(data, { options: { task: name } }))
    await expect(task('scenes/boxes.json', 'segment')).rejects.toThrow(/shapes/)
    await expect(task('scenes/shapes.json', 'detect')).rejects.toThrow(/boxes/)
    await expect(task('scenes/mattes.csv', 'count')).rejects.toThrow(/mattes/)
    await writeFile(at('reviews.csv'), 'text,label\na,x\nb,y\nc,x\nd,y\n')
    await expect(task('reviews.csv', 'count')).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
  })

  test('pictures of another size than their annotations say: a few are left out, many are refused', async () => {
    const wrong = (from: number) =>
      edited(`wrong-${from}.json`, 'boxes.json', ({ images }) => ({
        images: images.map((each) => (each.id >= from ? { ...each, width: 57 } : each)),
      }))
    const { findings } = await trainAdapter(request(await wrong(48), { options: short }))
    expect(findings.filter(({ code }) => code === 'unreadable-sample')).toHaveLength(2)
    await expect(trainAdapter(request(await wrong(20), { options: short }))).rejects.toThrow(/57 × 54/)
  })

  test('measured on other pictures than those that were recorded', async () => {
    await cp(at('scenes'), at('moved'), { recursive: true })
    const { metric } = (await readAdapterPackage(at('adapter-scenes-points.json'))).manifest
    const evaluate = (data: string) =>
      evaluateAdapter({ adapter: at('adapter-scenes-points.json'), image, engine, data })
    expect((await evaluate(at('moved'))).measured.value).toBe(metric!.value)
    const lines = (await readFile(at('adapter-scenes-points.json', 'eval.jsonl'), 'utf8')).split('\n')
    await cp(at('scenes', 'mattes', '0.png'), at('moved', JSON.parse(lines[0]!).input))
    await expect(evaluate(at('moved'))).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' })
    await expect(evaluate(home)).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' })
  })

  test('requests: no adapter, one of another type, a picture that is none, numbers beyond their range', async () => {
    using firmware = await openFirmware(image, { engine })
    const picture = { file: await readFile(at('scenes/0.png')) }
    const adapter = await headOf(at('adapter-scenes-boxes.json'))
    const points = await headOf(at('adapter-scenes-places.json'))
    const refused = (asked: object, code = 'INVALID_REQUEST') =>
      expect(firmware.ask(asked as never)).rejects.toMatchObject({ code })
    await refused({ task: 'detect', picture })
    await refused({ task: 'count', picture, adapter })
    await refused({ task: 'detect', picture, adapter, minScore: 2 })
    await refused({ task: 'detect', picture, adapter, top: 0 })
    await refused({ task: 'detect', picture: { file: Uint8Array.of(1, 2, 3) }, adapter }, 'PICTURE_INVALID')
    await refused({ task: 'keypoints', picture, adapter: points, region: [0, 0, 0, 5] })
    await refused({ task: 'keypoints', picture, adapter: points, region: [100, 0, 5, 5] })
    await refused(
      { task: 'detect', picture, adapter: { ...adapter, patches: { rows: 3, columns: 3 } } },
      'SHAPE_MISMATCH',
    )
    await refused({ task: 'match', items: [{ picture }], adapter })
    expect(firmware.loaded()).toEqual(['IMG'])
  })
})
