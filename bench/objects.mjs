/**
 * Heads on patches, trained on public samples and measured through the runtime on pictures that were held out.
 *
 *   node bench/objects.mjs --image NAME [--data ../shared/data] [--home FOLDER] [--only voc,crowd,pose]
 *
 * The image must have an encoder of pictures that gives patches. Result: results/<date>-objects.json.
 */

import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { openEngine } from '../dist/engine/index.js'
import { openImage, resolveImage } from '../dist/firmware/image.js'
import { trainAdapter } from '../dist/train/index.js'
import { crowd, vocSamples } from './lib/object-sets.mjs'
import { openResult } from './lib/results.mjs'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const { values } = parseArgs({
  options: {
    image: { type: 'string', default: 'lite' },
    data: { type: 'string', default: join(ROOT, '..', 'shared', 'data') },
    home: { type: 'string', default: process.env.M4FM_HOME },
    only: { type: 'string' },
  },
})
/** Fewer objects of a class than this, over the pictures that are trained on and held out, say nothing. */
const LEAST_OBJECTS = 20

const work = join(values.home ?? '.', 'bench-objects')
mkdirSync(work, { recursive: true })
const engine = await openEngine()
const image = await openImage(await resolveImage(values.image, values.home ? { home: values.home } : {}))

const SETS = {
  voc: async () => {
    const { path, facts } = await vocSamples(values.data, work, LEAST_OBJECTS)
    return { data: path, facts, options: { evalFraction: 0.2 } }
  },
  crowd: async () => {
    const [train, test] = [await crowd(values.data, work, 'train'), await crowd(values.data, work, 'test')]
    return { data: train.path, evalData: test.path, facts: { train: train.facts, test: test.facts }, options: {} }
  },
  // Two pictures: that it runs, not how good it is.
  pose: async () => ({
    data: join(values.data, 'ap10k', 'ap10k', 'test_ap10k.json'),
    facts: { pictures: 2 },
    options: { evalFraction: 0.5 },
  }),
}

const names = values.only?.split(',') ?? Object.keys(SETS)
const result = openResult('objects', { image: image.manifest.name, module: image.manifest.modules.IMG.title })
for (const name of names) {
  if (result.data[name]) continue
  const { data, evalData, facts, options } = await SETS[name]()
  const out = join(work, name)
  rmSync(`${out}.training`, { recursive: true, force: true })
  const started = performance.now()
  const report = await trainAdapter({
    data,
    ...(evalData ? { evalData } : {}),
    image,
    engine,
    out,
    options,
    onStep: ({ step, steps, loss, evalLoss }) =>
      evalLoss !== undefined &&
      console.log(`${name} ${step}/${steps} loss ${loss.toFixed(3)}, held out ${evalLoss.toFixed(3)}`),
  })
  const score = (measured) =>
    measured && { name: measured.name, value: measured.value, stderr: measured.stderr, count: measured.count }
  result.data[name] = {
    ...facts,
    task: report.plan.task.task,
    trained: report.plan.trainSamples,
    heldOut: report.plan.evalSamples,
    metric: score(report.metric),
    bestConstant: score(report.base),
    adapterBytes: report.bytes,
    steps: report.fit.step,
    fitSeconds: Math.round(report.fit.seconds),
    totalSeconds: Math.round((performance.now() - started) / 1000),
    peakMemoryBytes: report.peakMemoryBytes,
  }
  console.log(JSON.stringify(result.data[name], null, 1))
  result.save(names.every((each) => result.data[each]))
}
