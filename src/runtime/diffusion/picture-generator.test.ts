import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { liveHandles } from '../../core/disposal.js'
import { buildFirmware, findRecipe } from '../../firmware/index.js'
import type { Picture } from '../../media/index.js'
import { type Firmware, openFirmware } from '../index.js'
import type { PaintRequest } from '../requests.js'

const home = mkdtempSync(join(tmpdir(), 'm4-paint-'))
let firmware: Firmware

beforeAll(async () => {
  const tiny = findRecipe('tiny-random')
  const recipe = { ...tiny, modules: { 'IMG-gen': tiny.modules['IMG-gen']! } }
  const { path } = await buildFirmware(recipe, { home })
  firmware = await openFirmware(path)
})
afterAll(() => {
  firmware.dispose()
  rmSync(home, { recursive: true, force: true })
  expect(liveHandles()).toEqual({})
})

const request = (more: Partial<PaintRequest> = {}): PaintRequest => ({
  task: 'paint',
  prompt: 'a red boat',
  steps: 3,
  ...more,
})
const paint = async (more?: Partial<PaintRequest>) => (await firmware.ask(request(more))).output
const differs = (a: Picture, b: Picture) => a.data.some((value, i) => value !== b.data[i])

describe('paint', () => {
  test('steps, then a picture and a report of path 4', async () => {
    const events = []
    for await (const event of firmware.run(request())) events.push(event)
    const answer = events.at(-1)!
    expect(events.slice(0, -1)).toEqual([1, 2, 3, 4].map((done) => ({ type: 'step', done, of: 4 }))) // pndm asks once more
    expect(answer).toMatchObject({
      type: 'answer',
      output: { width: 16, height: 16 },
      report: { path: 4, task: 'paint', random: true, modules: [{ role: 'IMG-gen' }], tokens: { encoded: 14 } },
    })
    expect(new Set((await paint()).data).size).toBeGreaterThan(10)
  })

  test('the same request gives the same picture; seed, text, guidance and sampler change it', async () => {
    const first = await paint()
    expect(await paint()).toEqual(first)
    for (const change of [
      { seed: 1 },
      { prompt: 'a blue boat' },
      { guidance: 2 },
      { sampler: 'ddim' },
      { negative: 'water' },
    ])
      expect(differs(await paint(change), first)).toBe(true)
  })

  test('other sizes, odd latents too', async () => {
    for (const [width, height] of [
      [24, 16],
      [10, 14],
    ]) {
      const picture = await paint({ width: width!, height: height! })
      expect(picture).toMatchObject({ width, height })
      expect(picture.data).toHaveLength(3 * width! * height!)
    }
  })

  test('a picture from a picture keeps more of it the less may change', async () => {
    const data = Uint8Array.from({ length: 3 * 17 * 18 }, (_, i) => (i * 37) % 256)
    const picture = { data, width: 17, height: 18 }
    const [little, more, all] = await Promise.all(
      [0.1, 0.6, 1].map((strength) => paint({ picture, strength, steps: 10, sampler: 'ddim' })),
    )
    expect(little).toMatchObject({ width: 16, height: 18 })
    expect(differs(little!, more!)).toBe(true)
    expect(differs(more!, all!)).toBe(true)
  })

  test('a cancelled request ends at the next step, and the module goes on', async () => {
    const stop = new AbortController()
    const run = async () => {
      for await (const event of firmware.run(request({ steps: 50, signal: stop.signal })))
        if (event.type === 'step' && event.done === 2) stop.abort()
    }
    await expect(run()).rejects.toMatchObject({ code: 'ABORTED' })
    expect(await paint()).toMatchObject({ width: 16 })
  })

  test.each<[Partial<PaintRequest>, string]>([
    [{ prompt: ' ' }, 'EMPTY_INPUT'],
    [{ prompt: 'word '.repeat(30) }, 'CONTEXT_OVERFLOW'],
    [{ steps: 0 }, 'INVALID_REQUEST'],
    [{ steps: 2.5 }, 'INVALID_REQUEST'],
    [{ steps: 1001 }, 'INVALID_REQUEST'],
    [{ guidance: 0 }, 'INVALID_REQUEST'],
    [{ seed: -1 }, 'INVALID_REQUEST'],
    [{ width: 15 }, 'INVALID_REQUEST'],
    [{ height: 0 }, 'INVALID_REQUEST'],
    [{ sampler: 'euler' }, 'UNKNOWN_NAME'],
    [{ embedding: new Float32Array(4) }, 'INVALID_REQUEST'],
    [{ picture: { file: new Uint8Array([1, 2, 3]) } }, 'PICTURE_INVALID'],
    [{ picture: { data: new Uint8Array(5), width: 2, height: 2 } }, 'INVALID_REQUEST'],
    [{ picture: { data: new Uint8Array(768), width: 16, height: 16 }, strength: 0 }, 'INVALID_REQUEST'],
  ])('refuses %o', async (change, code) => {
    await expect(paint(change)).rejects.toMatchObject({ code })
  })
})
