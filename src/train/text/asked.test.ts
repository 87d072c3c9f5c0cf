/** Questions about pictures: from a table of files to LoRA that `describe` is served with, on the toy image. */

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readAdapterPackage, readPeftAdapter, usableAdapter } from '../../adapters/index.js'
import { liveHandles } from '../../core/disposal.js'
import { type Engine, openEngine } from '../../engine/index.js'
import { type Image, openImage } from '../../firmware/image.js'
import { buildFirmware, findRecipe } from '../../firmware/index.js'
import { openFirmware } from '../../runtime/index.js'
import { evaluateAdapter, trainAdapter } from '../index.js'
import { picture } from '../media/testing/synthetic.js'

let home: string
let image: Image
let engine: Engine
const COLOURS = ['red', 'blue'] as const
/** As if it had been trained: what is measured on toy weights means nothing, but the way to it must run. */
const measured = (): Image => ({ ...image, manifest: { ...image.manifest, weights: 'pretrained' } })

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'm4-asked-'))
  engine = await openEngine()
  image = await openImage((await buildFirmware(findRecipe('tiny-random'), { home, offline: true })).path)
  await mkdir(join(home, 'pictures'))
  const rows = await Promise.all(
    Array.from({ length: 12 }, async (_, i) => {
      const colour = COLOURS[i % 2]!
      const name = `pictures/${i}.png`
      await writeFile(join(home, name), await picture(colour, i))
      return `${name},What color?,${colour}`
    }),
  )
  await writeFile(join(home, 'asked.csv'), `image,question,answer\n${rows.join('\n')}\n`)
})
afterAll(async () => {
  expect(liveHandles()).toEqual({})
  await rm(home, { recursive: true, force: true })
})

const request = (out: string, data: string) => ({
  data: join(home, data),
  image,
  engine,
  home,
  out: join(home, out),
  options: { steps: 40, batch: 8, rank: 8, seed: 1, evalEvery: 40, optimiser: { lr: 0.02 } },
})

describe('a table of pictures, questions and answers', () => {
  test('the adapter answers by what is seen, and the base does not', async () => {
    const report = await trainAdapter({ ...request('colours', 'asked.csv'), image: measured() })
    expect(report.plan.task).toMatchObject({ task: 'describe' })
    const { manifest } = await readAdapterPackage(join(home, 'colours'))
    expect(manifest).toMatchObject({ task: 'describe', path: 1, kind: 'lora' })
    const adapter = usableAdapter(readPeftAdapter(join(home, 'colours'), image.manifest.abi))
    using firmware = await openFirmware(image, { engine })
    const answers = async (tensors: typeof adapter | undefined) => {
      const texts: string[] = []
      for (const [i, colour] of COLOURS.entries()) {
        const items = [{ picture: { file: await picture(colour, 40 + i) } }]
        const ask = { task: 'describe', items, question: 'What color?', maxTokens: 16, adapter: tensors } as const
        const { output, report: served } = await firmware.ask(ask)
        expect(served.modules.map(({ role }) => role)).toEqual(['IMG', 'backbone'])
        texts.push(output.text)
      }
      return texts
    }
    expect(await answers(adapter)).toEqual([...COLOURS])
    expect(await answers(undefined)).not.toEqual([...COLOURS])
    // Its own samples travel as vectors, and give the same measurement.
    const again = await evaluateAdapter({ adapter: join(home, 'colours'), image: measured(), engine })
    expect(again.measured.value).toBe(report.metric!.value)
    const onData = { adapter: join(home, 'colours'), image: measured(), engine, data: join(home, 'asked.csv') }
    expect((await evaluateAdapter(onData)).measured).toMatchObject({ count: 12, value: 1 })
  }, 300_000)

  test('a file that is no picture is named; a prompt of one’s own and an image without a projection are refused', async () => {
    await writeFile(join(home, 'bad.png'), 'no picture')
    await writeFile(join(home, 'bad.csv'), 'image,answer\nbad.png,red\npictures/1.png,blue\npictures/2.png,red\n')
    await expect(trainAdapter(request('bad', 'bad.csv'))).rejects.toMatchObject({
      code: 'PICTURE_INVALID',
      message: expect.stringContaining('bad.png'),
    })
    const own = request('own', 'asked.csv')
    await expect(trainAdapter({ ...own, options: { ...own.options, template: 'Q {}' } })).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
    })
    const toy = findRecipe('tiny-random')
    const { graphs: _, ...backbone } = toy.modules.backbone!
    const bare = { ...toy, name: 'bare', modules: { backbone, IMG: toy.modules.IMG! } }
    const without = await openImage((await buildFirmware(bare, { home, offline: true })).path)
    await expect(trainAdapter({ ...own, image: without })).rejects.toMatchObject({
      code: 'NOT_AVAILABLE',
      details: { needs: 'project' },
    })
  }, 120_000)
})
