/** What `embedSamples` does with what a runtime may give: refusals, floods of findings, limits. */

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { M4Error } from '../../core/errors.js'
import type { Firmware } from '../../runtime/index.js'
import type { DataSet } from '../data/index.js'
import { embedSamples, spread } from './features.js'
import type { MediaFinding } from './unreadable.js'

const COUNT = 300
let folder: string
let set: DataSet

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'm4-features-'))
  const paths = Array.from({ length: COUNT }, (_, i) => join(folder, `${i}.png`))
  for (const [i, path] of paths.entries()) await writeFile(path, String(i))
  const samples = paths.map((path, i) => ({ kind: 'image-label' as const, path, label: i < COUNT / 2 ? 'a' : 'b' }))
  const empty = { labels: ['a', 'b'], digest: '', files: [], findings: [], options: {} }
  set = { path: folder, kind: 'image-label', samples, ...empty }
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** Embeds the number in the file, by `vectorOf`. */
const runtime = (vectorOf: (number: number) => Float32Array, asked: number[] = []): Firmware => {
  const ask = async ({ items }: { readonly items: readonly [{ readonly picture: { readonly file: Uint8Array } }] }) => {
    const number = Number(new TextDecoder().decode(items[0].picture.file))
    asked.push(number)
    return { output: { embeddings: [vectorOf(number)] } }
  }
  return { ask } as unknown as Firmware
}
const fine = (number: number) => Float32Array.of(number, 1)
const brokenEvery = (nth: number) => (number: number) => {
  if (number % nth === 0) throw new M4Error('PICTURE_INVALID', 'Picture: broken.')
  return fine(number)
}

describe('unreadable samples', () => {
  test('up to a tenth: the first twenty by name, the rest in one line', async () => {
    const findings: MediaFinding[] = []
    const onFinding = (finding: MediaFinding) => void findings.push(finding)
    const { set: kept, features } = await embedSamples(runtime(brokenEvery(10)), set, { onFinding, everyClass: true })
    expect(findings).toHaveLength(21)
    expect(findings[1]!.message).toContain(join(folder, '10.png'))
    expect(findings[20]).toMatchObject({ more: 10 })
    expect(kept.samples).toHaveLength(270)
    expect(features).toMatchObject({ count: 270, dims: [2] })
    // Samples and features stay in step.
    for (const [i, { path }] of kept.samples.entries()) expect(path).toBe(join(folder, `${features.data[2 * i]}.png`))
  })

  test('more than a tenth is refused as soon as it is known', async () => {
    const asked: number[] = []
    const refused = embedSamples(runtime(brokenEvery(5), asked), set)
    await expect(refused).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
    expect(asked).toHaveLength(30 * 5 + 1)
  })

  test('what is wrong with the whole is thrown as it is', async () => {
    const failing = runtime(() => {
      throw new M4Error('NOT_AVAILABLE', 'No module.')
    })
    await expect(embedSamples(failing, set)).rejects.toMatchObject({ code: 'NOT_AVAILABLE' })
    const notNumbers = embedSamples(
      runtime(() => Float32Array.of(1, Number.NaN)),
      set,
    )
    await expect(notNumbers).rejects.toMatchObject({ code: 'ENGINE', message: expect.stringContaining('0.png') })
  })
})

test('features beyond the limit are refused with the first of them', async () => {
  const asked: number[] = []
  const refused = embedSamples(runtime(fine, asked), set, { limitBytes: COUNT * 8 - 1 })
  await expect(refused).rejects.toMatchObject({ code: 'OUT_OF_MEMORY', details: { bytes: COUNT * 8 } })
  expect(asked).toHaveLength(1)
})

test('a sample is embedded once', async () => {
  const asked: number[] = []
  const memory = new Map<string, Float32Array>()
  const first = await embedSamples(runtime(fine, asked), set, { memory })
  const second = await embedSamples(runtime(fine, asked), set, { memory })
  expect(asked).toHaveLength(COUNT)
  expect(second.features).toEqual(first.features)
})

test('a part of a sorted set has all of its classes', async () => {
  const part = spread(await embedSamples(runtime(fine), set), 10)
  expect(part.features.count).toBe(10)
  expect(part.set.samples.filter(({ path }) => Number(path.match(/(\d+)\.png/)![1]) < COUNT / 2)).toHaveLength(5)
  for (const [i, { path }] of part.set.samples.entries())
    expect(path).toBe(join(folder, `${part.features.data[2 * i]}.png`))
})
