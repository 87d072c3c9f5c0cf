/** `fewShotRuns` on tiny-random: broken off and gone on with, and what must not be mixed. */

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Engine, openEngine } from '../src/engine/index.js'
import { buildFirmware, findRecipe, type Image, openImage } from '../src/firmware/index.js'
import { type FewShotReport, type FewShotRequest, type FewShotRun, fewShotRuns } from '../src/train/index.js'

const folder = mkdtempSync(join(tmpdir(), 'm4fm-few-shot-'))
const at = (...names: string[]) => join(folder, ...names)
let engine: Engine
let image: Image

beforeAll(async () => {
  engine = await openEngine()
  await buildFirmware(findRecipe('tiny-random'), { out: at('tiny-random') })
  image = await openImage(at('tiny-random'))
  const rows = Array.from({ length: 20 }, (_, i) => `text ${i} of ${i % 2 ? 'x' : 'y'},${i % 2 ? 'good' : 'bad'}`)
  writeFileSync(at('data.csv'), `text,label\n${rows.join('\n')}\n`)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const request = (out: string, more: Partial<FewShotRequest> = {}): FewShotRequest => ({
  data: at('data.csv'),
  image,
  engine,
  home: folder,
  out: at(out),
  options: { steps: 6, batch: 4, rank: 2, parts: ['q'], patience: 0 },
  fractions: [0.5, 1],
  repeats: 2,
  ...more,
})
/** Times are not the same twice. */
const timeless = ({ rows }: FewShotReport) =>
  rows.map(({ runs, ...row }) => ({ ...row, runs: runs.map(({ seconds: _, ...run }) => run) }))

describe('few-shot', () => {
  test('stopped in its third run, it goes on there, and ends as if nothing had been', async () => {
    const stop = new AbortController()
    const done: FewShotRun[] = []
    let begun = 0
    const onStep = ({ step }: { step: number }) => {
      if (step === 1) begun++
      if (begun === 3 && step === 4) stop.abort()
    }
    const broken = request('stopped', { onStep, signal: stop.signal, onRun: (run) => done.push(run) })
    await expect(fewShotRuns(broken)).rejects.toMatchObject({ code: 'ABORTED' })
    expect(done.map(({ fraction, seed }) => [fraction, seed])).toEqual([
      [0.5, 0],
      [0.5, 1],
    ])
    const kept = JSON.parse(readFileSync(at('stopped', 'few-shot.json'), 'utf8'))
    expect(kept.runs).toEqual(done)
    expect(readdirSync(at('stopped', 'under-way'))).toEqual(['1-0.training'])

    const told: boolean[] = []
    const steps: number[] = []
    const report = await fewShotRuns(
      request('stopped', { onRun: (_, before) => told.push(before), onStep: ({ step }) => steps.push(step) }),
    )
    expect(told).toEqual([true, true, false, false])
    // The third run from its checkpoint, the fourth from its first step.
    expect(steps).toEqual([5, 6, 1, 2, 3, 4, 5, 6])
    expect(report.rows[0]!.runs).toEqual(done)
    expect(timeless(report)).toEqual(timeless(await fewShotRuns(request('whole'))))
    expect(readdirSync(at('stopped'))).toEqual(['few-shot.json'])
  })

  test('more shares and draws are added; other options, data and images are refused', async () => {
    const trained: FewShotRun[] = []
    const onRun = (run: FewShotRun, before: boolean) => void (before || trained.push(run))
    const few = request('more', { fractions: [1], repeats: 1, onRun })
    await fewShotRuns(few)
    await fewShotRuns({ ...few, fractions: [0.5, 1], repeats: 2 })
    expect(trained.map(({ fraction, seed }) => [fraction, seed])).toEqual([
      [1, 0],
      [0.5, 0],
      [0.5, 1],
      [1, 1],
    ])
    writeFileSync(at('other.csv'), readFileSync(at('data.csv'), 'utf8').replace('text 3', 'text three'))
    for (const other of [
      { options: { ...few.options!, rank: 4 } },
      { data: at('other.csv') },
      { evalData: at('other.csv') },
      { image: { ...image, digest: 'd'.repeat(64) } },
    ])
      await expect(fewShotRuns({ ...few, ...other })).rejects.toMatchObject({
        code: 'INVALID_REQUEST',
        message: expect.stringContaining('other data, another image or other options'),
        hint: expect.stringContaining('--fresh'),
      })
    expect(trained).toHaveLength(4)
    const begun = await fewShotRuns({ ...few, options: { ...few.options!, rank: 4 }, fresh: true })
    expect([begun.rows, trained]).toMatchObject([[{ fraction: 1 }], { length: 5 }])
    await expect(fewShotRuns(few)).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
  })

  test('a damaged record is an error until it is forgotten; a folder of something else is left alone', async () => {
    const one = request('damaged', { fractions: [1], repeats: 1 })
    await fewShotRuns(one)
    const path = at('damaged', 'few-shot.json')
    const whole = readFileSync(path, 'utf8')
    for (const text of [whole.slice(0, -20), whole.replace('"steps": 6', '"steps": "six"'), '[]']) {
      writeFileSync(path, text)
      await expect(fewShotRuns(one)).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
    }
    expect((await fewShotRuns({ ...one, fresh: true })).rows).toHaveLength(1)
    await expect(fewShotRuns(request('tiny-random'))).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
    expect(existsSync(at('tiny-random', 'few-shot.json'))).toBe(false)
  })
})
