import { rmSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { checkSplits } from './check-splits.js'
import { fewShot } from './few-shot.js'
import { labelOf } from './keys.js'
import { openDataSet, sortLabels } from './open.js'
import type { DataSet, TextLabelSample } from './samples.js'
import { splitDataSet } from './split.js'
import { apportion } from './strata.js'
import { codesOf, type Scratch, scratchFolder } from './testing/scratch.js'

const setOf = (rows: readonly (readonly [text: string, label: string])[]): DataSet => ({
  path: '/data.csv',
  kind: 'text-label',
  samples: rows.map(([text, label], i) => ({ kind: 'text-label', text, label, row: i + 2 })),
  labels: sortLabels([...new Set(rows.map(([, label]) => label))]),
  digest: 'd'.repeat(64),
  files: [],
  findings: [],
  options: {},
})
/** `counts[k]` texts of label k, all different. */
const counted = (...counts: number[]) =>
  setOf(counts.flatMap((count, k) => Array.from({ length: count }, (_, i) => [`text ${k} ${i}`, `${k}`] as const)))
const rowsOf = ({ samples }: DataSet) => samples.map((sample) => (sample as TextLabelSample).row)
const perLabel = (set: DataSet) =>
  set.labels.map((label) => set.samples.filter((sample) => labelOf(sample) === label).length)

describe('splitDataSet', () => {
  test('every label keeps its share; the same seed gives the same split', () => {
    const set = counted(100, 50, 10)
    const { train, eval: held, findings } = splitDataSet(set, { evalFraction: 0.1, seed: 7 })
    expect(perLabel(held)).toEqual([10, 5, 1])
    expect(findings).toEqual([])
    expect([...rowsOf(train), ...rowsOf(held)].sort((a, b) => a - b)).toEqual(rowsOf(set))
    const again = splitDataSet(set, { evalFraction: 0.1, seed: 7 })
    expect(rowsOf(again.eval)).toEqual(rowsOf(held))
    expect(again.eval.digest).toBe(held.digest)
    const other = splitDataSet(set, { evalFraction: 0.1, seed: 8 })
    expect(rowsOf(other.eval)).not.toEqual(rowsOf(held))
    expect(new Set([set.digest, train.digest, held.digest, other.eval.digest]).size).toBe(4)
  })

  test('labels stay whole on both sides, so that ids agree', () => {
    const { train, eval: held } = splitDataSet(counted(9, 1), { evalCount: 2, seed: 1 })
    expect([train.labels, held.labels]).toEqual([
      ['0', '1'],
      ['0', '1'],
    ])
    expect(perLabel(held)).toEqual([2, 0])
  })

  test('copies are trained on and never measured on', () => {
    const rows = Array.from({ length: 40 }, (_, i) => [`text ${i % 30}${i >= 30 ? ' ' : ''}`, `${i % 2}`] as const)
    for (let seed = 0; seed < 20; seed++) {
      const { train, eval: held, findings } = splitDataSet(setOf(rows), { evalCount: 12, seed })
      expect(held.samples).toHaveLength(12)
      const texts = new Set(train.samples.map((sample) => (sample as TextLabelSample).text.trim()))
      for (const sample of held.samples) expect(texts.has((sample as TextLabelSample).text.trim())).toBe(false)
      expect(findings).toMatchObject([{ code: 'duplicate-across-splits', severity: 'warning' }])
      expect(findings[0]!.message).toContain('20 samples')
    }
  })

  test('what a split cannot give is said', () => {
    const { eval: held, findings } = splitDataSet(counted(3, 1), { evalCount: 3, seed: 1 })
    expect(held.samples).toHaveLength(2)
    expect(codesOf(findings)).toEqual(['eval-size', 'label-not-in-eval'])
    const copies = setOf([
      ['a', '0'],
      ['a', '0'],
      ['b', '1'],
      ['b', '1'],
    ])
    expect(() => splitDataSet(copies, { evalCount: 1, seed: 1 })).toThrow('no sample can be held out')
    for (const options of [
      {},
      { evalFraction: 0 },
      { evalFraction: 1 },
      { evalCount: 4 },
      { evalCount: 1.5 },
      { evalCount: 1, evalFraction: 0.5 },
    ])
      expect(() => splitDataSet(copies, { ...options, seed: 1 })).toThrow(expect.objectContaining({ code: 'USAGE' }))
    expect(() => splitDataSet(counted(1), { evalCount: 1, seed: 1 })).toThrow('two samples or more')
  })

  test('for any data: nothing is lost, nothing is in both, no text is shared, every measured label is trained on', () => {
    const rows = fc.array(
      fc.tuple(fc.constantFrom('a', 'A ', 'b', 'c', 'd', 'e', 'f', 'g'), fc.constantFrom('x', 'y', 'z')),
      {
        minLength: 4,
        maxLength: 30,
      },
    )
    let made = 0
    fc.assert(
      fc.property(rows, fc.integer({ min: 1, max: 3 }), fc.nat(), (data, evalCount, seed) => {
        const set = setOf(data)
        let splits: ReturnType<typeof splitDataSet>
        try {
          splits = splitDataSet(set, { evalCount, seed })
        } catch {
          return // all copies: refused, see above
        }
        made++
        expect([...rowsOf(splits.train), ...rowsOf(splits.eval)].sort((a, b) => a - b)).toEqual(rowsOf(set))
        expect(splits.eval.samples.length).toBeLessThanOrEqual(evalCount)
        expect(checkSplits(splits.train, splits.eval)).toEqual([])
      }),
      { numRuns: 300, seed: 1 },
    )
    expect(made).toBeGreaterThan(50)
  })

  test('subjects stay together when asked to, and are named when not', () => {
    const set = counted(30)
    const samples = set.samples.map((sample, i) => ({
      kind: 'motion-label' as const,
      path: '/m.csv',
      start: i,
      end: i + 1,
      label: (sample as TextLabelSample).label,
      subject: `p${i % 5}`,
    }))
    const motion: DataSet = { ...set, kind: 'motion-label', samples }
    const apart = splitDataSet(motion, { evalCount: 6, seed: 1, keepTogether: 'subject' })
    const subjects = (part: DataSet) => new Set(part.samples.map((sample) => 'subject' in sample && sample.subject))
    expect(apart.eval.samples).toHaveLength(6)
    expect(subjects(apart.eval).size).toBe(1)
    expect(subjects(apart.train).size).toBe(4)
    expect(apart.findings).toEqual([])
    expect(codesOf(splitDataSet(motion, { evalCount: 6, seed: 1 }).findings)).toEqual(['subject-across-splits'])
    expect(() => splitDataSet(motion, { evalCount: 6, seed: 1, keepTogether: 'file' })).toThrow(
      'two or more of "file", got 1',
    )
    expect(() => splitDataSet(set, { evalCount: 6, seed: 1, keepTogether: 'subject' })).toThrow('names no subject')
  })
})

describe('checkSplits', () => {
  test('copies across files and labels that are never trained on', () => {
    const train = setOf([
      ['a', 'x'],
      ['b', 'y'],
    ])
    const held = setOf([
      ['A ', 'x'],
      ['c', 'x'],
      ['d', 'new'],
    ])
    expect(checkSplits(train, held)).toMatchObject([
      { code: 'duplicate-across-splits', severity: 'warning', row: 2 },
      { code: 'unseen-label', severity: 'warning', message: expect.stringContaining('"new"') },
    ])
    expect(checkSplits(train, setOf([['c', 'y']]))).toEqual([])
  })

  test('labels of another alphabet altogether, and sets of two kinds, are errors', () => {
    const train = setOf([
      ['a', '0'],
      ['b', '1'],
    ])
    expect(
      checkSplits(
        train,
        setOf([
          ['c', 'neg'],
          ['d', 'pos'],
        ]),
      ),
    ).toMatchObject([
      { code: 'unseen-label', severity: 'error' },
      { code: 'unseen-label', severity: 'error' },
    ])
    expect(checkSplits(train, { ...train, kind: 'chat', samples: [] })).toMatchObject([
      { code: 'kind-mismatch', severity: 'error' },
    ])
  })
})

describe('media', () => {
  let scratch: Scratch
  beforeEach(() => {
    scratch = scratchFolder()
  })
  afterEach(() => rmSync(scratch.path, { recursive: true }))

  test('a copy of another speaker is trained on, though all else of the speaker is held out', async () => {
    const name = (speaker: string, i: number) => `d/${i % 2 ? 'yes' : 'no'}/${speaker}_${i}.wav`
    const own = ['anna', 'ben'].flatMap((speaker) => [0, 1, 2, 3].map((i) => [name(speaker, i), `${speaker} ${i}`]))
    scratch.write({ ...Object.fromEntries(own), [name('ben', 3)]: 'anna 3' })
    const set = await openDataSet(join(scratch.path, 'd'), { pathPattern: '^(?<label>\\w+)/(?<subject>[a-z]+)_' })
    const { train, eval: held, findings } = splitDataSet(set, { evalCount: 4, seed: 1, keepTogether: 'subject' })
    expect([train.samples.length, held.samples.length]).toEqual([5, 3])
    expect(checkSplits(train, held)).toEqual([])
    expect(codesOf(findings)).toEqual(['duplicate-across-splits', 'eval-size', 'subject-across-splits'])
  })

  test('pictures of the same bytes never fall on both sides', async () => {
    const names = Array.from({ length: 20 }, (_, i) => i)
    scratch.write(Object.fromEntries(names.map((i) => [`d/${i % 2 ? 'cat' : 'dog'}/${i}.png`, `bytes ${i % 16}`])))
    const set = await openDataSet(join(scratch.path, 'd'))
    const { train, eval: held, findings } = splitDataSet(set, { evalCount: 6, seed: 3 })
    expect(held.samples).toHaveLength(6)
    expect(codesOf(findings)).toEqual(['duplicate-across-splits'])
    expect(checkSplits(train, held)).toEqual([])
    scratch.write({ 'e/dog/a.png': 'bytes 3', 'e/cat/b.png': 'new' })
    expect(codesOf(checkSplits(set, await openDataSet(join(scratch.path, 'e'))))).toEqual(['duplicate-across-splits'])
  })
})

describe('fewShot', () => {
  test('a part of each class, one at least, the same for the same seed', () => {
    const set = counted(1000, 300, 3)
    const one = fewShot(set, { fraction: 0.01, seed: 5 })
    expect(perLabel(one)).toEqual([9, 3, 1])
    expect(rowsOf(fewShot(set, { fraction: 0.01, seed: 5 }))).toEqual(rowsOf(one))
    expect(rowsOf(fewShot(set, { fraction: 0.01, seed: 6 }))).not.toEqual(rowsOf(one))
    expect(rowsOf(fewShot(set, { fraction: 1, seed: 5 }))).toEqual(rowsOf(set))
    // More shots of the same seed are the same shots and more.
    const more = new Set(rowsOf(fewShot(set, { fraction: 0.1, seed: 5 })))
    expect(rowsOf(one).every((row) => more.has(row))).toBe(true)
  })

  test('so many of each class', () => {
    const shots = fewShot(counted(10, 10, 2), { perClass: 4, seed: 1 })
    expect(perLabel(shots)).toEqual([4, 4, 2])
    expect(shots.findings).toMatchObject([{ code: 'few-shot-size' }])
    const set = counted(4)
    for (const options of [{}, { fraction: 0 }, { fraction: 2 }, { perClass: 0 }, { perClass: 1, fraction: 1 }])
      expect(() => fewShot(set, { ...options, seed: 1 })).toThrow(expect.objectContaining({ code: 'USAGE' }))
  })
})

test('apportion: the sum is the total wherever the bounds allow it', () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 8 })
  fc.assert(
    fc.property(sizes, fc.double({ min: 0, max: 1, noNaN: true }), (each, part) => {
      const all = each.reduce((sum, size) => sum + size, 0)
      const total = Math.round(part * all)
      const counts = apportion(
        total,
        each,
        each.map(() => 0),
        each,
      )
      expect(counts.reduce((sum, count) => sum + count, 0)).toBe(total)
      for (const [i, count] of counts.entries()) expect(Math.abs(count - (total * each[i]!) / all)).toBeLessThan(1)
    }),
    { seed: 1 },
  )
  expect(apportion(1, [5, 5, 5], [1, 1, 1], [5, 5, 5])).toEqual([1, 1, 1])
})
