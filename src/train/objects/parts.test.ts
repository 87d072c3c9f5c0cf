/** Shapes of COCO at points, anchors for boxes, and answers of a device beside those of the training graph. */

import { describe, expect, test } from 'vitest'
import { normalSource } from '../../core/random.js'
import { hostTensor } from '../../core/tensor.js'
import {
  balancePoints,
  foundBoxes,
  mapAtDots,
  regionOf,
  sigmoid,
  softplus,
  squareOf,
} from '../../runtime/patch-heads/index.js'
import { boxHead, countingHead, initialValues, keyPointHead, mattingHead, type TaskHead } from '../heads/index.js'
import { answer } from '../heads/testing/learn.js'
import { anchorShapes } from './anchors.js'
import { runLengthDots, shapeAt } from './masks.js'
import { boxInSquare, pointInSquare } from './views.js'

const centres = (count: number) => Float64Array.from({ length: count }, (_, i) => i + 0.5)
const rows = (covered: Uint8Array, width: number) =>
  Array.from({ length: covered.length / width }, (_, y) => covered.subarray(y * width, (y + 1) * width).join(''))

describe('shapes', () => {
  test('polygons: a square with a notch, and two parts', () => {
    const notched = [1, 1, 4, 1, 4, 4, 2.5, 2, 1, 4]
    expect(rows(shapeAt({ polygons: [notched] }, centres(6), centres(5)), 6)).toEqual([
      '000000',
      '011100',
      '010100',
      '000000',
      '000000',
    ])
    const two = {
      polygons: [
        [0, 0, 2, 0, 2, 2, 0, 2],
        [3, 0, 4, 0, 4, 1, 3, 1],
      ],
    }
    expect(rows(shapeAt(two, centres(4), centres(2)), 4)).toEqual(['1101', '1100'])
  })

  test('runs go down the columns; the string form of COCO says the same', () => {
    // [height 3, width 4]: the second column whole, one dot of the third.
    const counts = [3, 4, 5]
    expect(rows(shapeAt({ mask: { size: [3, 4], counts } }, centres(4), centres(3)), 4)).toEqual([
      '0110',
      '0100',
      '0100',
    ])
    // maskApi.c rleToString of 3, 4, 5, and of longer runs whose later ones are differences: 100, 7, 50, 43.
    expect(runLengthDots({ size: [3, 4], counts: '345' })).toEqual(runLengthDots({ size: [3, 4], counts }))
    const long = { size: [20, 10] as const, counts: 'T37b1T1' }
    expect(runLengthDots(long)).toEqual(runLengthDots({ ...long, counts: [100, 7, 50, 43] }))
  })

  test('runs that do not cover the mask', () => {
    for (const counts of [[3, 4], [20, -8], '34'])
      expect(() => runLengthDots({ size: [3, 4], counts })).toThrow(expect.objectContaining({ code: 'FORMAT_INVALID' }))
  })
})

test('anchors: groups of shapes are found, equal boxes are one, none gives none', () => {
  const next = normalSource(3)
  const near = (width: number, height: number) =>
    Array.from({ length: 20 }, () => [width * (1 + 0.05 * next()), height * (1 + 0.05 * next())] as const)
  const shapes = anchorShapes([...near(0.1, 0.1), ...near(0.6, 0.2), ...near(0.2, 0.6)])
  expect(shapes).toHaveLength(5)
  for (const [width, height] of [
    [0.1, 0.1],
    [0.6, 0.2],
    [0.2, 0.6],
  ] as const)
    expect(shapes.some(([w, h]) => Math.abs(w - width) < 0.05 * width && Math.abs(h - height) < 0.05 * height)).toBe(
      true,
    )
  expect(
    anchorShapes([
      [0.5, 0.5],
      [0.5, 0.5],
    ]),
  ).toEqual([[0.5, 0.5]])
  expect(anchorShapes([])).toEqual([])
})

describe('squares', () => {
  const picture = { width: 4, height: 2, data: Uint8Array.from({ length: 24 }, (_, i) => i) }

  test('a picture lies in the top left corner, the rest is padding', () => {
    const square = squareOf(picture, regionOf(picture))
    expect([square.width, square.height]).toEqual([4, 4])
    expect(square.data.subarray(0, 24)).toEqual(picture.data)
    expect([...square.data.subarray(24, 30)]).toEqual([124, 116, 104, 124, 116, 104])
  })

  test('a region is cut out to whole dots; a long strip is made smaller', () => {
    const region = regionOf(picture, [1.4, 0.2, 1.5, 0.5])
    expect(region).toEqual({ left: 1, top: 0, width: 2, height: 1, side: 2 })
    expect([...squareOf(picture, region).data.subarray(0, 6)]).toEqual([3, 4, 5, 6, 7, 8])
    const strip = { width: 4000, height: 10, data: new Uint8Array(120_000) }
    expect(squareOf(strip, regionOf(strip))).toMatchObject({ width: 1024, height: 1024 })
  })

  test('boxes and points as shares: cut at the border, nothing beside it', () => {
    const region = { left: 10, top: 0, width: 40, height: 20, side: 40 }
    expect(boxInSquare([0, 10, 30, 30], region)).toEqual([0, 0.25, 0.5, 0.25])
    expect(boxInSquare([60, 0, 5, 5], region)).toBeUndefined()
    expect(pointInSquare(30, 10, region)).toEqual([0.5, 0.25])
    expect(pointInSquare(30, 21, region)).toBeUndefined()
  })
})

describe('a device computes what the training graph does', () => {
  const GRID = { rows: 3, columns: 3 }
  const next = normalSource(8)
  const features = hostTensor(
    'float32',
    [1, 9, 5],
    Float32Array.from({ length: 45 }, () => next()),
  )

  /** W·x + b of every patch, matrices one below the other, as class-head.ts runs an adapter. */
  const maps = (head: TaskHead, values: ReadonlyMap<string, Float32Array>) => {
    const parts = head.parameters.filter(({ dims }) => dims.length === 2)
    return Float32Array.from(
      Array.from({ length: 9 }, (_, p) =>
        parts.flatMap(({ name, dims }) =>
          Array.from({ length: Number(dims[0]) }, (__, o) =>
            Array.from({ length: 5 }).reduce<number>(
              (sum, ___, c) => sum + values.get(name)![o * 5 + c]! * features.data[p * 5 + c]!,
              values.get(`${name}/bias`)![o]!,
            ),
          ),
        ),
      ).flat(),
    )
  }
  const learned = (head: TaskHead) => initialValues(head.parameters, 4)

  test('points', async () => {
    const head = keyPointHead({ ...GRID, in: 5, points: 2 })
    const [expected] = await answer(head, learned(head as TaskHead), features)
    const found = balancePoints(maps(head as TaskHead, learned(head as TaskHead)), GRID)
    for (const [k, { x, y, confidence }] of expected!.entries()) {
      expect(found[k]!.x).toBeCloseTo(x, 5)
      expect(found[k]!.y).toBeCloseTo(y, 5)
      expect(found[k]!.confidence).toBeCloseTo(confidence, 5)
    }
  })

  test('counts', async () => {
    const head = countingHead({ ...GRID, in: 5 })
    const [expected] = await answer(head, learned(head as TaskHead), features)
    const found = Array.from(maps(head as TaskHead, learned(head as TaskHead)), softplus)
    for (const [p, value] of found.entries()) expect(value).toBeCloseTo(expected!.density[p]!, 5)
  })

  test('mattes', async () => {
    const head = mattingHead({ ...GRID, in: 5, height: 7, width: 7 })
    const [expected] = await answer(head, learned(head as TaskHead), features)
    const region = { left: 0, top: 0, width: 7, height: 7, side: 7 }
    const found = mapAtDots(maps(head as TaskHead, learned(head as TaskHead)), 0, GRID, region)
    for (const [i, logit] of found.entries()) expect(sigmoid(logit)).toBeCloseTo(expected!.alpha[i]!, 5)
  })

  test('boxes', async () => {
    const anchors = [
      [0.3, 0.3],
      [0.6, 0.2],
    ] as const
    const config = { ...GRID, in: 5, classes: 2, anchors, decode: { score: 0.01 } }
    const head = boxHead(config)
    const values = learned(head as TaskHead)
    const [expected] = await answer(head, values, features)
    const all = maps(head as TaskHead, values)
    const part = (from: number, to: number) =>
      Float32Array.from(Array.from({ length: 9 }, (_, p) => [...all.subarray(p * 12 + from, p * 12 + to)]).flat())
    const found = foundBoxes(config, part(0, 4), part(4, 12), { score: 0.01 })
    expect(expected!.length).toBeGreaterThan(3)
    expect(found).toHaveLength(expected!.length)
    for (const [i, { label, score, box }] of expected!.entries()) {
      expect(found[i]!.label).toBe(label)
      expect(found[i]!.score).toBeCloseTo(score, 5)
      for (const [k, side] of found[i]!.box.entries()) expect(side).toBeCloseTo(box[k]!, 5)
    }
  })
})
