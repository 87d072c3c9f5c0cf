/** The upscaler before and after some training: it starts as bicubic interpolation, and only gets better. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { liveHandles } from '../../core/disposal.js'
import { openEngine } from '../../engine/index.js'
import { ARCHITECTURES, cubicKernels, upscalerGraph } from '../../models/index.js'
import { openTestGraph } from '../heads/testing/learn.js'
import { cubicResize } from './cubic-resize.js'
import { trainUpscaler } from './upscaler.js'

const home = mkdtempSync(join(tmpdir(), 'm4-upscaler-'))

afterAll(() => {
  rmSync(home, { recursive: true, force: true })
  expect(liveHandles()).toEqual({})
})

test('what training starts with is cubic: a straight slope stays one, and even grey stays even', async () => {
  const config = { scale: 2, widths: [2, 2] } as const
  const weights = ARCHITECTURES.upscaler.random(config, 1)
  for (const [name, data] of [
    ['cubic', cubicKernels(2)],
    ['layers.2', new Float32Array(4 * 2 * 9)],
  ] as const)
    weights.set(name, { ...weights.get(name)!, float32: () => data })
  const { engine, session } = await openTestGraph(upscalerGraph(config, weights))
  using _ = session
  // Columns rise by 0.1, rows are alike: inside, dot (y, x) of the larger picture is 0.1·((x + ½)/2 − ½).
  using plane = engine.tensor(
    'float32',
    [1, 1, 5, 9],
    Float32Array.from({ length: 45 }, (_, i) => 0.1 * (i % 9)),
  )
  using larger = (await session.run({ plane })).larger!
  expect(larger.dims).toEqual([1, 1, 10, 18])
  const dots = larger.data as Float32Array
  for (let y = 0; y < 10; y++)
    for (let x = 5; x < 13; x++) expect(dots[y * 18 + x]).toBeCloseTo(0.1 * ((x + 0.5) / 2 - 0.5), 5)
})

test('a plane made smaller keeps even grey and the middle of a slope; enlarged, it is the cubic of the graph', () => {
  const slope = { data: Float32Array.from({ length: 24 * 4 }, (_, i) => i % 24), width: 24, height: 4 }
  const half = cubicResize(slope, { width: 12, height: 2 })
  for (let x = 3; x < 9; x++) expect(half.data[x]).toBeCloseTo(2 * x + 0.5, 4)
  const even = cubicResize({ ...slope, data: new Float32Array(96).fill(7) }, { width: 7, height: 9 })
  expect(even.data).toHaveLength(63)
  for (const value of even.data) expect(value).toBeCloseTo(7, 5)
  const dot = { data: Float32Array.from({ length: 25 }, (_, i) => Number(i === 12)), width: 5, height: 5 }
  const twice = cubicResize(dot, { width: 10, height: 10 }).data
  const kernels = cubicKernels(2)
  for (const phase of [0, 1, 2, 3])
    expect(twice[(4 + (phase >> 1)) * 10 + 4 + (phase % 2)]).toBeCloseTo(kernels[phase * 25 + 12]!, 6)
})

test('a few steps make held-out pictures sharper, and the same seed gives the same weights', async () => {
  const lines: string[] = []
  const request = { engine: await openEngine(), data: home, home, smoke: true }
  const { tensors, record } = await trainUpscaler({ ...request, onLine: (line) => lines.push(line) })
  const decibels = lines.map((line) => Number(/held out ([\d.]+) dB/.exec(line)![1]))
  expect(decibels.at(-1)).toBeGreaterThan(decibels[0]! + 0.1)
  expect(record.metrics.heldOutPsnrDb!.value).toBeCloseTo(decibels.at(-1)!, 1)
  const again = await trainUpscaler(request)
  for (const [name, { data }] of Object.entries(tensors)) expect(again.tensors[name]!.data).toEqual(data)
}, 60_000)
