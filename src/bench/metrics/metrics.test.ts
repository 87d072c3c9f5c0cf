/** What every score must hold whatever its numbers; the numbers themselves are compared in the goldens (metric-*). */

import { describe, expect, test } from 'vitest'
import {
  averagePrecision,
  bleu,
  bootstrapError,
  chrF,
  cider,
  cocoRougeL,
  cocoScores,
  correctPoints,
  exactMatch,
  frechetDistance,
  fScores,
  maskCounts,
  matthews,
  melCepstralDistortion,
  nltkBleu,
  normalizeAnswer,
  peakSignalToNoise,
  recallAt,
  reidentify,
  rocAuc,
  segmentation,
  segmentationScores,
  setF1,
  shareOfCorrectPoints,
  slurp,
  spearman,
  structuralSimilarity,
  tokenF1,
  tokenize13a,
  topKAccuracy,
} from './index.js'
import { symmetricEigen } from './symmetric-eigen.js'

const SEGMENTS = [
  { hypothesis: 'the cat sat on the mat', references: ['the cat sat on the mat'] },
  { hypothesis: 'a dog runs', references: ['a dog runs', 'the dog is running'] },
]

describe('texts', () => {
  test('the reference itself is perfect, nothing in common is zero', () => {
    const same = SEGMENTS.map(({ references }) => ({ hypothesis: references[0]!, references }))
    expect(bleu([same[0]!]).score).toBeCloseTo(100, 9)
    expect(chrF(same)).toBeCloseTo(100, 9)
    expect(nltkBleu([same[0]!])).toBeCloseTo(1, 12)
    expect(cocoRougeL('a b', ['a b'])).toBeCloseTo(1, 12)
    expect(bleu([{ hypothesis: 'x y', references: ['a b'] }]).score).toBe(0)
    expect(nltkBleu([{ hypothesis: 'x', references: ['a'] }], 'method1')).toBe(0)
    expect(cider(SEGMENTS).perSegment).toHaveLength(2)
  })

  test('mteval-13a', () => {
    expect(tokenize13a('It costs $1,234.56, right?')).toBe('It costs $ 1,234.56 , right ?')
    expect(tokenize13a('&quot;a-b&quot; 3-4')).toBe('" a-b " 3 - 4')
  })

  test('answers', () => {
    expect(normalizeAnswer(' The  cat, a dog! ')).toBe('cat dog')
    expect(exactMatch('U.S.A.', 'usa')).toBe(true)
    expect([tokenF1('', ''), tokenF1('x', ''), setF1('', '')]).toEqual([1, 0, 0])
    expect([tokenF1('cat dog dog', 'cat cat dog'), setF1('cat dog dog', 'cat cat dog')]).toEqual([2 / 3, 1])
  })

  test('SLURP: nearest entity of the type, its distance counts on both sides', () => {
    const gold = [{ scenario: 'play', action: 'music', entities: [{ type: 'song', filler: 'let it be' }] }]
    const far = [{ scenario: 'play', action: 'radio', entities: [{ type: 'song', filler: 'let it bee' }] }]
    const { scenario, intent, entities, words } = slurp(gold, far)
    expect([scenario.f1, intent.f1, entities.f1]).toEqual([1, 0, 0])
    expect(words.precision).toBeCloseTo(1 / (1 + 1 / 3), 12)
  })
})

describe('decisions and rankings', () => {
  test('perfect and worst', () => {
    const truth = [0, 1, 2, 1]
    expect(fScores(truth, truth).macro).toEqual({ precision: 1, recall: 1, f1: 1 })
    expect(matthews([1, 0, 1, 0], [0, 1, 0, 1])).toBe(-1)
    expect(rocAuc([0, 0, 1, 1], [1, 2, 3, 4])).toBe(1)
    expect(rocAuc([0, 1], [5, 5])).toBe(0.5)
    expect(averagePrecision([1, 0], [1, 1])).toBe(0.5)
    expect(spearman([1, 2, 3], [10, 100, 1000])).toBeCloseTo(1, 12)
    expect(topKAccuracy([2], [[3, 2, 1]], 2)).toBe(0)
  })

  test('re-identification leaves the same camera out', () => {
    const similarity = [[9, 5, 1]]
    const gallery = { ids: [7, 8, 7], cameras: [0, 1, 1] }
    expect(recallAt(similarity, [7], gallery.ids, 1)).toBe(1)
    expect(reidentify(similarity, { ids: [7], cameras: [0] }, gallery, 2)).toMatchObject({
      rank1: 0,
      mAP: 0.5,
      cmc: [0, 1],
    })
  })
})

describe('pictures, masks, boxes', () => {
  const picture = (shift: number) => ({
    height: 16,
    width: 18,
    channels: 1,
    data: Float64Array.from({ length: 16 * 18 }, (_, i) => ((i * 37 + shift) % 251) / 1),
  })

  test('a picture is like itself', () => {
    expect(structuralSimilarity(picture(0), picture(0))).toBeCloseTo(1, 12)
    expect(peakSignalToNoise(picture(0), picture(0))).toBe(Number.POSITIVE_INFINITY)
    expect(structuralSimilarity(picture(0), picture(90), { window: 'gaussian' })).toBeLessThan(0.9)
    expect(() => structuralSimilarity(picture(0), { ...picture(0), width: 16 })).toThrow(/SHAPE|size/)
  })

  test('masks: what is ignored does not count, absent classes are left out of the mean', () => {
    const { iou, mIoU, pixelAccuracy } = segmentation([0, 0, 1, 255], [0, 1, 1, 0], { classes: 3, ignore: 255 })
    expect(iou).toEqual([0.5, 0.5, Number.NaN])
    expect([mIoU, pixelAccuracy]).toEqual([0.5, 2 / 3])
  })

  test('masks of several pictures are counted together, not averaged', () => {
    const counts = [maskCounts([0, 0, 0], [0, 0, 0], { classes: 2 }), maskCounts([1], [0], { classes: 2 })]
    expect(segmentationScores(counts)).toEqual(segmentation([0, 0, 0, 1], [0, 0, 0, 0], { classes: 2 }))
  })

  test('points: within a tenth of the size, and only those that are labelled', () => {
    const truth = [[10, 10], undefined, [50, 50]] as const
    const counts = correctPoints(
      truth,
      [
        [12, 10],
        [0, 0],
        [50, 53.1],
      ],
      { size: 30, share: 0.1 },
    )
    expect(counts).toEqual({ right: 1, labelled: 2 })
    expect(shareOfCorrectPoints([counts, { right: 2, labelled: 2 }])).toBe(0.75)
    expect(shareOfCorrectPoints([{ right: 0, labelled: 0 }])).toBeNaN()
  })

  test('the error of a mean by drawing again is near that of the formula', () => {
    const items = Array.from({ length: 100 }, (_, i) => i % 2)
    const mean = (drawn: readonly number[]) => drawn.reduce((sum, each) => sum + each, 0) / drawn.length
    const error = bootstrapError(items, mean, { draws: 400 })
    expect(Math.abs(error - 0.05)).toBeLessThan(0.008)
    expect(bootstrapError(items, mean, { draws: 400 })).toBe(error)
    expect(bootstrapError([1], mean)).toBe(0)
    expect(bootstrapError([1, 2], () => Number.NaN)).toBe(0)
  })

  test('one box found, one not; a crowd takes what is left', () => {
    const box = (x: number, extra = {}) => ({
      image_id: 1,
      category_id: 1,
      bbox: [x, 0, 50, 50] as const,
      area: 2500,
      ...extra,
    })
    const set = {
      images: [{ id: 1 }],
      categories: [{ id: 1 }],
      annotations: [box(0), box(100), box(200, { iscrowd: 1 })],
    }
    const found = [box(0, { score: 0.9 }), box(205, { score: 0.8 }), box(400, { score: 0.1 })]
    const { AP, AR100, APm, APs } = cocoScores('bbox', set, found as never)
    expect(AP).toBeCloseTo(51 / 101, 9)
    expect([AR100, APs]).toEqual([0.5, -1])
    expect(APm).toBeCloseTo(51 / 101, 9)
  })
})

describe('distributions and sounds', () => {
  test('eigenvalues of a known matrix', () => {
    const { values, vectors } = symmetricEigen(Float64Array.of(2, 1, 0, 1, 2, 0, 0, 0, 5), 3)
    expect([...values].sort((a, b) => a - b).map((value) => Number(value.toFixed(12)))).toEqual([1, 3, 5])
    // A·v = λ·v
    for (let j = 0; j < 3; j++) expect(2 * vectors[j]! + vectors[3 + j]!).toBeCloseTo(values[j]! * vectors[j]!, 12)
    expect(() => symmetricEigen(Float64Array.of(Number.NaN), 1)).toThrow(/finite/)
  })

  test('a shifted set lies as far as its shift', () => {
    const data = Float64Array.from({ length: 200 }, (_, i) => Math.sin(i * i))
    const features = (shift: number) => ({ rows: 50, width: 4, data: data.map((value) => value + shift) })
    expect(frechetDistance(features(0), features(0))).toBeCloseTo(0, 9)
    expect(frechetDistance(features(0), features(3))).toBeCloseTo(36, 9)
  })

  test('a recording is as long as itself on the diagonal', () => {
    const sound = Float32Array.from({ length: 4000 }, (_, i) => Math.sin(i / 7) * 0.3)
    expect(melCepstralDistortion(sound, sound, 16_000)).toMatchObject({ cumulative: 0, pathLength: 21 })
    expect(() => melCepstralDistortion([], sound, 16_000)).toThrow(/EMPTY|samples/)
  })
})
