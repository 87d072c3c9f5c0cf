/** Objects in pictures on `tiny-random`, as processes: trained from COCO JSON, looked at, asked, measured again; and what is refused. */

import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { decodeImage } from '../src/media/index.js'
import { writeScenes } from '../src/train/objects/testing/scenes.js'
import { ensureCompiled, runCli } from './helpers/cli.js'

const IMAGE = 'tiny-random-fp32'
/** The same image, said to be trained, so that accuracy is measured: what it is means nothing, but the way to it must run. */
const MEASURED = 'eyes'
let home: string
const at = (...names: string[]) => join(home, ...names)
const m4fm = (...words: string[]) => runCli(words, { home })
const train = (data: string, out: string, ...words: string[]) =>
  m4fm('adapter', 'train', '--data', at('scenes', data), '--out', at(out), '--lr', '0.02', '--steps', '60', ...words)

interface ErrorJson {
  readonly error: { readonly code: string; readonly message: string; readonly hint?: string }
}

beforeAll(async () => {
  ensureCompiled()
  home = await mkdtemp(join(tmpdir(), 'm4-objects-cli-'))
  await m4fm('build', 'tiny-random', '--quant', 'fp32', '--quiet')
  await cp(at('images', IMAGE), at('images', MEASURED), { recursive: true })
  const path = at('images', MEASURED, 'manifest.json')
  await writeFile(path, (await readFile(path, 'utf8')).replace('"weights":"random"', '"weights":"pretrained"'))
  await writeScenes(at('scenes'), 24)
}, 120_000)
afterAll(() => rm(home, { recursive: true, force: true }))

describe('each head, from annotations to an answer', () => {
  test('detect', async () => {
    const dry = await train('boxes.json', 'boxes', '--image', IMAGE, '--dry-run')
    expect(dry.stdout).toMatch(/^task +detect with IMG$/m)
    expect(dry.stdout).toMatch(/^labels +blue, red$/m)
    const trained = await train('boxes.json', 'boxes', '--image', IMAGE, '--json')
    expect([trained.code, trained.stderr]).toEqual([0, ''])
    expect(trained.json<{ findings: { code: string }[] }>().findings.map(({ code }) => code)).toContain(
      'random-weights',
    )
    const asked = ['run', IMAGE, '--task', 'detect', '--adapter', at('boxes'), at('scenes', '0.png')]
    const answer = await m4fm(...asked, '--min-score', '0.05', '--top', '3', '--json')
    const { output, report } = answer.json<{
      output: { boxes: { label: string; score: number; box: number[] }[] }
      report: object
    }>()
    expect(report).toMatchObject({ path: 3, task: 'detect', adapter: 'boxes', random: true })
    expect(output.boxes.length).toBeGreaterThan(0)
    expect(output.boxes.length).toBeLessThanOrEqual(3)
    for (const { label, score, box } of output.boxes) {
      const [x, y, width, height] = box as [number, number, number, number]
      expect(['red', 'blue']).toContain(label)
      expect(score).toBeGreaterThanOrEqual(0.05)
      expect(x >= 0 && y >= 0 && x + width <= 56.001 && y + height <= 54.001).toBe(true)
    }
    const none = await m4fm(...asked, '--min-score', '1')
    expect([none.code, none.stdout]).toEqual([0, 'nothing\n'])
  }, 180_000)

  test('keypoints', async () => {
    expect((await train('places.json', 'places', '--image', IMAGE)).code).toBe(0)
    const answer = await m4fm(
      ...['run', IMAGE, '--task', 'keypoints', '--adapter', at('places'), at('scenes', 'pair-0.png')],
      ...['--region', '0,0,56,54', '--json'],
    )
    const { points } = answer.json<{ output: { points: { name: string; x: number; y: number }[] } }>().output
    expect(points.map(({ name }) => name)).toEqual(['red', 'blue'])
    for (const { x, y } of points) expect(x >= 0 && y >= 0 && x <= 56 && y <= 54).toBe(true)
  }, 180_000)

  test('segment: a grey picture is written, of classes and of a matte', async () => {
    for (const [data, out] of [
      ['shapes.json', 'shapes'],
      ['mattes.csv', 'mattes'],
    ] as const) {
      expect((await train(data, out, '--image', IMAGE)).code).toBe(0)
      const words = ['run', IMAGE, '--task', 'segment', '--adapter', at(out), at('scenes', '0.png')]
      const mask = at(`${out}.png`)
      const answer = await m4fm(...words, '--out', mask, '--json')
      const { output } = answer.json<{
        output: { labels?: { label: string; dots: number }[]; foregroundDots?: number }
      }>()
      expect(output).toMatchObject({ width: 56, height: 54, out: mask })
      const picture = await decodeImage(await readFile(mask))
      expect([picture.width, picture.height]).toEqual([56, 54])
      const levels = Array.from({ length: 56 * 54 }, (_, i) => picture.data[3 * i]!)
      if (data === 'mattes.csv') {
        const sum = levels.reduce((all, level) => all + level / 255, 0)
        expect(Math.abs(output.foregroundDots! - sum)).toBeLessThan(56 * 54 * 0.002)
      } else
        expect(output.labels!.map(({ dots }) => dots)).toEqual(
          ['background', 'blue', 'red'].map((_, k) => levels.filter((level) => level === k).length),
        )
      const nowhere = await m4fm(...words, '--json')
      expect([nowhere.code, nowhere.json<ErrorJson>().error.code]).toEqual([2, 'USAGE'])
    }
  }, 180_000)

  test('count: measured, inspected, measured again, kept', async () => {
    const trained = await train('points.json', 'points', '--image', MEASURED, '--json')
    const { metric, base } = trained.json<{ metric: { name: string; value: number }; base: { how: string } }>()
    expect([metric.name, base.how]).toEqual(['mae', 'best-constant'])
    const answer = await m4fm('run', MEASURED, '--task', 'count', '--adapter', at('points'), at('scenes', '0.png'))
    expect(answer.stdout).toMatch(/^\d+\.\d\n$/)
    const inspected = await m4fm('adapter', 'inspect', at('points'), '--image', MEASURED)
    expect(inspected.stdout).toMatch(/^task +count, path 3$/m)
    expect(inspected.stdout).toMatch(/^head +counting, 32 to 1, of each of 2 × 2 patches$/m)
    const on = (...words: string[]) => m4fm('adapter', ...words, '--image', MEASURED, '--json')
    const evaluated = await on('eval', at('points'), '--data', at('scenes'))
    expect(evaluated.json()).toMatchObject({ measured: { name: 'mae', value: metric.value } })
    const kept = await on('revalidate', at('points'), '--eval', at('scenes'))
    expect([kept.code, kept.json<{ verdict: string }>().verdict]).toEqual([0, 'keep'])
    const without = await on('eval', at('points'))
    expect(without.json<ErrorJson>().error).toMatchObject({
      code: 'NOT_AVAILABLE',
      hint: expect.stringContaining('--data'),
    })
  }, 180_000)
})

test('bad input is refused by name, before anything is trained', async () => {
  const coco = JSON.parse(await readFile(at('scenes/boxes.json'), 'utf8'))
  const write = (name: string, change: object) => writeFile(at('scenes', name), JSON.stringify({ ...coco, ...change }))
  await write('empty.json', { annotations: [] })
  await write('gone.json', { images: [...coco.images, { id: 99, file_name: 'nowhere.png', width: 5, height: 5 }] })
  await write('flat.json', { annotations: [{ image_id: 0, category_id: 0, bbox: [1, 1, 0, 9] }] })
  const cases: readonly (readonly [string, readonly string[], string])[] = [
    ['empty.json', [], 'FORMAT_INVALID'],
    ['gone.json', [], 'FORMAT_INVALID'],
    ['flat.json', [], 'FORMAT_INVALID'],
    ['nowhere.json', [], 'FILE_NOT_FOUND'],
    ['boxes.json', ['--task', 'segment'], 'INVALID_REQUEST'],
    ['boxes.json', ['--task', 'dectet'], 'UNKNOWN_NAME'],
    ['boxes.json', ['--kind', 'lora'], 'NOT_AVAILABLE'],
  ]
  const refusals = await Promise.all(
    cases.map(async ([data, words]) =>
      (await train(data, 'never', '--image', IMAGE, ...words, '--json')).json<ErrorJson>(),
    ),
  )
  expect(refusals.map(({ error }) => error.code)).toEqual(cases.map(([, , code]) => code))
  const run = async (...words: string[]) => (await m4fm('run', IMAGE, ...words, '--json')).json<ErrorJson>().error.code
  const picture = at('scenes', '0.png')
  const asked = [
    run('--task', 'detect', picture),
    run('--task', 'count', '--adapter', at('boxes'), picture),
    run('--task', 'keypoints', '--adapter', at('places'), picture, '--region', '1,2'),
    run('--task', 'detect', '--adapter', at('boxes'), at('scenes', 'boxes.json')),
  ]
  expect(await Promise.all(asked)).toEqual(['USAGE', 'INVALID_REQUEST', 'USAGE', 'PICTURE_INVALID'])
}, 180_000)
