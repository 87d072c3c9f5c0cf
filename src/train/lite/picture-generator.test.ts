/** Training of the small picture generator: on made-up pictures, stopped and gone on with, and the batches that it learns from. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { liveHandles } from '../../core/disposal.js'
import { openEngine } from '../../engine/index.js'
import { flowBatch } from './flow-matching.js'
import { trainPictureGenerator } from './picture-generator.js'
import { PICTURE_FAMILIES, promptsOf } from './picture-prompts.js'

const home = mkdtempSync(join(tmpdir(), 'm4-picture-generator-'))

afterAll(() => {
  rmSync(home, { recursive: true, force: true })
  expect(liveHandles()).toEqual({})
})

const request = async (more: object = {}) => ({ engine: await openEngine(), data: home, home, smoke: true, ...more })
const heldOut = (line: string) => Number(/held out ([\d.]+)/.exec(line)![1])

test('a few steps lower the loss on held-out pictures; a run that was stopped ends with the same weights', async () => {
  const lines: string[] = []
  const whole = await trainPictureGenerator(await request({ onLine: (line: string) => lines.push(line) }))
  expect(heldOut(lines.at(-1)!)).toBeLessThan(heldOut(lines[0]!) - 0.1)
  expect(whole.record.metrics.heldOutVelocityMse!.value).toBeCloseTo(heldOut(lines.at(-1)!), 3)
  expect(Object.values(whole.tensors).every(({ dtype }) => dtype === 'float16')).toBe(true)

  const stop = new AbortController()
  const stopped = trainPictureGenerator(await request({ signal: stop.signal, onLine: () => stop.abort() }))
  await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' })
  const rest: string[] = []
  const again = await trainPictureGenerator(await request({ onLine: (line: string) => rest.push(line) }))
  expect(rest).toHaveLength(lines.length - 1)
  for (const [name, { data }] of Object.entries(whole.tensors)) expect(again.tensors[name]!.data).toEqual(data)

  const other = await trainPictureGenerator(await request({ seed: 8 }))
  expect(other.tensors['patches/in']!.data).not.toEqual(whole.tensors['patches/in']!.data)
}, 60_000)

test('a batch lies on straight ways from noise to the pictures, and leaves some of them untold', () => {
  const config = { channels: 1, size: 4, joint: 8 }
  const samples = Array.from({ length: 400 }, (_, i) => ({
    picture: new Float32Array(16).fill(i % 2 ? 1 : -1),
    joint: Float32Array.from({ length: 8 }, (_, j) => Number(j === i % 2)),
  }))
  const batch = flowBatch(config, samples, 3)
  const [picture, target, joint, time] = ['picture', 'target', 'joint', 'time'].map((name) => batch[name]!.data)
  let untold = 0
  for (const [row, sample] of samples.entries()) {
    const rest = Math.max(0.05, 1 - Number(time![row]) / 1000)
    const end = (picture![row * 16] as number) + rest * (target![row * 16] as number)
    expect(end).toBeCloseTo(sample.picture[0]!, 4)
    const told = Array.from({ length: 8 }, (_, j) => joint![row * 8 + j] as number)
    const length = Math.hypot(...told)
    if (length === 0) untold++
    else {
      expect(length).toBeCloseTo(1, 4)
      expect(told[row % 2]).toBeGreaterThan(0.7)
    }
  }
  expect(untold / samples.length).toBeGreaterThan(0.05)
  expect(untold / samples.length).toBeLessThan(0.16)
  expect(flowBatch(config, samples, 3)).toEqual(batch)
  expect(flowBatch(config, samples, 4).time).not.toEqual(batch.time)
})

test('sentences to measure with are none of those that are trained on', () => {
  for (const { templates, unseen, classes } of PICTURE_FAMILIES)
    for (const names of classes) {
      const known = new Set(promptsOf(templates, names))
      expect(known.size).toBe(templates.length * names.length)
      expect(promptsOf(unseen, names).filter((sentence) => known.has(sentence))).toEqual([])
    }
})
