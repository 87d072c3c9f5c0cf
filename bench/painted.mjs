/**
 * What the small picture generator of `lite` paints: 100 pictures a class by sentences that it was never trained on, recognised by a
 * classifier that was trained on real pictures alone.
 *
 *   node bench/painted.mjs [--home M4FM_HOME] [--count 100] [--steps 25] [--guidance 3] [--quick]
 *
 * Writes bench/results/painted.json, .md and .png; `--quick` prints, and writes painted-quick.png here.
 */

import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { frechetDistance } from '../dist/bench/metrics/frechet.js'
import { m4fmHome } from '../dist/core/files.js'
import { normalSource } from '../dist/core/random.js'
import { openEngine } from '../dist/engine/index.js'
import { buildFirmware, findRecipe } from '../dist/firmware/index.js'
import { encodePng } from '../dist/media/index.js'
import { openFirmware } from '../dist/runtime/index.js'
import { flow, guided, openFlowPainter } from '../dist/runtime/small-flow.js'
import { PICTURE_FAMILIES, promptsOf } from '../dist/train/lite/picture-prompts.js'
import { readClothes, readDigits } from '../dist/train/lite/picture-sets.js'
import { machineFacts } from './lib/results.mjs'
import { JUDGE, trainJudge } from './painted/judge.mjs'
import { contactSheet, report } from './painted/report.mjs'

const DOTS = 784
const RESULTS = fileURLToPath(new URL('results/', import.meta.url))
const { values } = parseArgs({
  options: {
    home: { type: 'string', default: m4fmHome() },
    count: { type: 'string', default: '100' },
    steps: { type: 'string', default: '25' },
    guidance: { type: 'string', default: '3' },
    quick: { type: 'boolean', default: false },
  },
})
const [count, steps, guidance] = [values.count, values.steps, values.guidance].map(Number)
const started = performance.now()
const engine = await openEngine()

/** Digits, then clothes, whose labels go on from those of the digits. */
const sets = [await readDigits(values.home), await readClothes(values.home)]
const joined = (side) => ({
  dots: Buffer.concat(sets.map((set) => set[side].dots)),
  labels: Uint8Array.from(sets.flatMap((set, f) => Array.from(set[side].labels, (label) => label + 10 * f))),
})
console.log('training the classifier on real pictures')
const judge = await trainJudge(engine, joined('train'), 20)
const heldOut = joined('heldOut')
const EVERY = 4
const real = Array.from({ length: heldOut.labels.length / EVERY }, (_, k) => {
  const i = k * EVERY
  const shades = Float32Array.from(heldOut.dots.subarray(i * DOTS, (i + 1) * DOTS), (dot) => dot / 255)
  return { own: heldOut.labels[i], ...judge(shades) }
})

const lite = findRecipe('lite')
const modules = { TXT: lite.modules.TXT, 'IMG-gen': lite.modules['IMG-gen'] }
const { path } = await buildFirmware({ ...lite, name: 'lite-painted', modules }, { home: values.home })
const firmware = await openFirmware(path, { engine })
const { image } = firmware
const painter = await openFlowPainter(image, 'IMG-gen', image.manifest.modules['IMG-gen'], engine)

/** `count` pictures of each class, [class][picture] of 784 shades in [0, 1]: the loop of `paint`, a class at a time. */
async function paintClass(vectors, seed) {
  const given = Array.from({ length: count }, (_, i) => vectors[i % vectors.length])
  const away = given.map((vector) => new Float32Array(vector.length))
  const dots = Float32Array.from({ length: count * DOTS }, normalSource(seed))
  const velocity = async (at, time) => {
    const both = new Float32Array(2 * at.length)
    both.set(at)
    both.set(at, at.length)
    return guided(await painter.look(both, time, [...away, ...given]), guidance)
  }
  for await (const _ of flow(dots, velocity, { steps }));
  const shades = dots.map((value) => Math.min(1, Math.max(0, (value + 1) / 2)))
  return given.map((_, i) => shades.subarray(i * DOTS, (i + 1) * DOTS))
}

const painted = []
const sheet = []
const drawn = { startMs: performance.now(), pictures: 0 }
for (const [f, { unseen, classes }] of PICTURE_FAMILIES.entries())
  for (const [c, names] of classes.entries()) {
    const { output } = await firmware.ask({ task: 'embed', texts: promptsOf(unseen, names) })
    const pictures = await paintClass(output.embeddings, 1000 * f + c)
    drawn.pictures += pictures.length
    sheet.push({ label: names[0], pictures: pictures.slice(0, 12) })
    painted.push(...pictures.map((shades) => ({ own: 10 * f + c, ...judge(shades) })))
  }
const msPerPicture = (performance.now() - drawn.startMs) / drawn.pictures
firmware.dispose()
painter.dispose()

const share = (rows) => rows.filter(({ own, label }) => own === label).length / rows.length
const ofFamily = (rows, f) => rows.filter(({ own }) => Math.floor(own / 10) === f)
const features = (rows) => ({
  rows: rows.length,
  width: rows[0].features.length,
  data: rows.flatMap((row) => row.features),
})
const [first, second] = [0, 1].map((odd) => real.filter((_, i) => i % 2 === odd))
const data = {
  count,
  steps,
  guidance,
  judge: {
    ...JUDGE,
    accuracy: Object.fromEntries(PICTURE_FAMILIES.map(({ name }, f) => [name, share(ofFamily(real, f))])),
    pictures: real.length,
  },
  families: Object.fromEntries(
    PICTURE_FAMILIES.map(({ name, classes, unseen }, f) => [
      name,
      {
        sentences: unseen,
        recognised: share(ofFamily(painted, f)),
        classes: Object.fromEntries(
          classes.map(([label], c) => [label, share(painted.filter(({ own }) => own === 10 * f + c))]),
        ),
        frechet: frechetDistance(features(ofFamily(painted, f)), features(ofFamily(first, f))),
        frechetOfRealHalves: frechetDistance(features(ofFamily(second, f)), features(ofFamily(first, f))),
      },
    ]),
  ),
  msPerPicture,
  seconds: Math.round((performance.now() - started) / 1000),
}
console.log(JSON.stringify(data, null, 1))
if (!values.quick) {
  writeFileSync(`${RESULTS}painted.json`, `${JSON.stringify({ machine: machineFacts(), ...data }, null, 1)}\n`)
  writeFileSync(`${RESULTS}painted.md`, report(data))
}
writeFileSync(values.quick ? 'painted-quick.png' : `${RESULTS}painted.png`, await encodePng(contactSheet(sheet)))
process.exit(0)
