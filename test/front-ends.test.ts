/** Front ends, codecs and tokenizers: deliberate mistakes must be found by the goldens. */

import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { openCheckpoint } from '../src/checkpoint/index.js'
import { liveHandles } from '../src/core/disposal.js'
import type { DataOf } from '../src/core/dtypes.js'
import { openEngine } from '../src/engine/index.js'
import { clipFrames, decodeImage, decodeWav, encodePng, encodeWav16 } from '../src/media/index.js'
import { IMAGEBIND_VIDEO, videoFrontEndGraph } from '../src/models/index.js'
import { openGraph } from '../src/parity/graphs.js'
import { runParity } from '../src/parity/index.js'
import { planesOf } from '../src/runtime/tower.js'

const SHARED = fileURLToPath(new URL('../../shared/goldens', import.meta.url))
const scratch = mkdtempSync(join(tmpdir(), 'm4-front-ends-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

type Json = Record<string, unknown>
let copies = 0

/** Names of the outputs that fail when something of the case is changed. */
async function failing(name: string, change: (folder: string) => void | Promise<void>): Promise<string[]> {
  const folder = join(scratch, `${copies++}`, name)
  cpSync(join(SHARED, name), folder, { recursive: true })
  cpSync(join(SHARED, 'shared'), join(folder, '..', 'shared'), { recursive: true })
  await change(folder)
  const { pass, outputs, error } = await runParity(folder)
  expect([pass, error]).toEqual([false, undefined])
  expect(liveHandles()).toEqual({})
  return outputs.filter((output) => !output.pass).map((output) => output.name)
}

const editJson = (folder: string, file: string, edit: (json: never) => unknown) => {
  const path = join(folder, file)
  writeFileSync(path, JSON.stringify(edit(JSON.parse(readFileSync(path, 'utf8')) as never)))
}
const editConfig = (change: Json) => (folder: string) =>
  editJson(folder, 'case.json', (json: { config: Json }) => ({ ...json, config: { ...json.config, ...change } }))

async function editPicture(folder: string, file: string, edit: (data: Uint8Array) => unknown): Promise<void> {
  const picture = await decodeImage(readFileSync(join(folder, file)))
  edit(picture.data)
  writeFileSync(join(folder, file), await encodePng(picture))
}

function editSound(folder: string, edit: (samples: Float32Array) => Float32Array): void {
  const path = join(folder, 'audio.wav')
  const { samples, sampleRateHz } = decodeWav(readFileSync(path))
  writeFileSync(path, encodeWav16(edit(samples[0]!), sampleRateHz))
}

test.runIf(existsSync(SHARED))('the first and the last frame say all of a clip', async () => {
  using golden = openCheckpoint(join(SHARED, 'frontend-imagebind-video', 'io.safetensors'))
  const [clip, expected] = ['input.clip', 'output.crops'].map((name) => golden.tensors.get(name)!)
  const [, frames, height, width] = clip!.dims as [number, number, number, number]
  const dots = height * width
  const all = Uint8Array.from(clip!.float32())
  const pictures = clipFrames(frames, frames / 2)[0]!.map((t) => ({
    data: Uint8Array.from({ length: 3 * dots }, (_, i) => all[((i % 3) * frames + t) * dots + Math.floor(i / 3)]!),
    width,
    height,
  }))
  const engine = await openEngine()
  using session = await openGraph(engine, videoFrontEndGraph({ ...IMAGEBIND_VIDEO, size: expected!.dims.at(-1)! }))
  using seen = engine.tensor('uint8', [3, 2, height, width], planesOf(pictures) as DataOf<'uint8'>)
  const { crops } = await session.run({ clip: seen })
  const far = expected!.float32().map((value, i) => Math.abs(value - (crops!.data[i] as number)))
  expect(Math.max(...far)).toBeLessThan(1e-4)
  crops!.dispose()
})

describe.runIf(existsSync(SHARED))('mistakes are found', () => {
  test('one dot of a PNG', async () => {
    const change = (folder: string) => editPicture(folder, 'rgb.png', (data) => data.fill(data[99]! ^ 1, 99, 100))
    expect(await failing('codec-image', change)).toEqual(['rgb.png'])
  })

  test('a JPEG turned as its EXIF says', async () => {
    const change = async (folder: string) => {
      const path = join(folder, 'exif_orientation6_444.jpg')
      writeFileSync(path, await encodePng(await decodeImage(readFileSync(path), { upright: true })))
    }
    expect(await failing('codec-image', change)).toEqual(['exif_orientation6_444.jpg'])
  })

  test('red and blue exchanged', async () => {
    const change = (folder: string) =>
      editPicture(folder, 'image.png', (data) => {
        for (let i = 0; i < data.length; i += 3) [data[i], data[i + 2]] = [data[i + 2]!, data[i]!]
      })
    const failed = await failing('frontend-imagebind-image', change)
    expect(failed).toEqual(['pixels_every_4th', 'crop_uint8', 'pixels_every_4th mean'])
  })

  test('a picture one column further left', async () => {
    const change = (folder: string) => editPicture(folder, 'image.png', (data) => data.copyWithin(0, 3))
    expect(await failing('frontend-imagebind-image', change)).toContain('crop_uint8')
  })

  test.each([
    ['frontend-imagebind-image', { std: [0.229, 0.224, 0.225] }, ['pixels_every_4th', 'pixels_every_4th mean']],
    ['frontend-imagebind-video', { crops: 1 }, ['crops']],
    ['frontend-imagebind-video', { frames: 3 }, ['crops']],
    ['frontend-imagebind-video', { mean: [0.5, 0.5, 0.5] }, ['crops']],
    ['frontend-imagebind-audio', { clipDuration: 1.9 }, ['melspec', 'clips in samples']],
    ['frontend-imagebind-audio', { mean: -4.25 }, ['melspec']],
    ['tokenizer-clip', { contextLength: 76 }, ['ids77', 'ids77Fork', 'eotIndexUpstream']],
    ['tokenizer-vits-mms', { addBlank: false }, ['ids']],
    ['tokenizer-vits-mms', { blankId: 19 }, ['ids']],
  ])('%s with %j', async (name, change, expected) => {
    expect(await failing(name, editConfig(change as Json))).toEqual(expected)
  })

  test('a sound one sample late, and one in 8 bits', async () => {
    const late = (samples: Float32Array) => Float32Array.from(samples, (_, i) => samples[Math.max(0, i - 1)]!)
    expect(await failing('frontend-imagebind-audio', (folder) => editSound(folder, late))).toEqual(['melspec'])
    const coarse = (samples: Float32Array) => samples.map((value) => Math.round(value * 128) / 128)
    const failed = await failing('frontend-imagebind-audio-resample', (folder) => editSound(folder, coarse))
    expect(failed).toEqual(['melspec', 'resampled_16k'])
  })

  test('one id, and one cleaned text', async () => {
    const change = (folder: string) =>
      editJson(folder, 'cases.json', (rows: { ids: number[]; cleaned: string }[]) => {
        rows[6]!.ids[1]! += 1
        rows[9]!.cleaned += '.'
        return rows
      })
    expect(await failing('tokenizer-clip', change)).toEqual(['cleaned', 'ids', 'decoded'])
  })
})
