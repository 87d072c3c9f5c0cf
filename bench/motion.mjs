/**
 * Motion of the recipe `lite` on people that it never saw (sp-sw-har, windows of 100 samples, subjects s04, s08, s12, s16, s20):
 * by the words for the activities alone, with a head that `m4fm adapter train` makes of the other subjects, and how both stand when
 * the device is turned or the sensor is slow.
 *
 *   node bench/motion.mjs [--data ../shared/data] [--work FOLDER] [--seed 7]
 *
 * The image holds the modules TXT and IMU of `lite` alone; sources come from the cache of M4FM_HOME.
 */

import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { accuracy, fScores } from '../dist/bench/metrics/index.js'
import { buildFirmware, findRecipe } from '../dist/firmware/index.js'
import { readHeadAdapter, usableHead } from '../dist/runtime/head-adapter.js'
import { openFirmware } from '../dist/runtime/index.js'
import { writeMotionReport } from './lib/motion-report.mjs'
import { augmentations, windowsOf } from './lib/motion-sets.mjs'
import { openResult } from './lib/results.mjs'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const { values } = parseArgs({
  options: {
    data: { type: 'string', default: join(ROOT, '..', 'shared', 'data') },
    work: { type: 'string', default: join(tmpdir(), 'm4fm-bench-motion') },
    seed: { type: 'string', default: '7' },
  },
})
const seed = Number(values.seed)
mkdirSync(values.work, { recursive: true })

const LABELS = ['sitting', 'standing up', 'walking', 'turning', 'sitting down']
/** Of MobileFM's prompts for T39 and T40. */
const TEMPLATE = 'a human is {}.'
const OTHER_LABELS = ['sitting in a seat', 'rising to their feet', 'walking around', 'turning round', 'having a seat']

const { train, test } = await windowsOf(values.data)
const truth = test.map(({ label }) => label)
const devices = [...new Set(test.map(({ device }) => device))]
console.log(`${train.length} windows of other subjects, ${test.length} to measure, of ${devices.join(' and ')}`)

const lite = findRecipe('lite')
const { TXT, IMU } = lite.modules
const image = join(values.work, 'image')
await buildFirmware({ ...lite, name: 'lite-motion', modules: { TXT, IMU } }, { out: image, offline: true })
const firmware = await openFirmware(image)

const AT_ONCE = 64
async function answers(windows, request) {
  const found = []
  for (let from = 0; from < windows.length; from += AT_ONCE) {
    const items = windows.slice(from, from + AT_ONCE).map(({ motion }) => ({ motion }))
    found.push(...(await firmware.ask({ task: 'match', items, ...request })).output.matches)
  }
  return found
}

/** In percent, each with its standard error. */
function scores(matches, labels, windows = test) {
  const expected = windows.map(({ label }) => label)
  const predicted = matches.map(({ label }) => labels.indexOf(label))
  const right = accuracy(expected, predicted)
  const confident = matches.flatMap(({ confident }, i) => (confident ? [i] : []))
  return {
    n: windows.length,
    accuracy: 100 * right,
    standardError: 100 * Math.sqrt((right * (1 - right)) / windows.length),
    macroF1: 100 * fScores(expected, predicted).macro.f1,
    ...(matches[0].confident === undefined
      ? {}
      : {
          confidentShare: (100 * confident.length) / windows.length,
          confidentAccuracy: (100 * confident.filter((i) => predicted[i] === expected[i]).length) / confident.length,
        }),
  }
}

const { data, save } = openResult('motion', { seed, labels: LABELS, template: TEMPLATE, otherLabels: OTHER_LABELS })
data.rows ??= {}
const { rows } = data
const measure = async (name, request, labels, windows = test) => {
  if (rows[name]) return
  rows[name] = scores(await answers(windows, request), labels, windows)
  save()
  console.log(name, JSON.stringify(rows[name]))
}
await measure('by the words', { labels: LABELS }, LABELS)
await measure(`by the words, "${TEMPLATE}"`, { labels: LABELS, template: TEMPLATE }, LABELS)
await measure('by other words', { labels: OTHER_LABELS }, OTHER_LABELS)
for (const [name, change] of Object.entries(augmentations(seed)))
  await measure(`by the words, ${name}`, { labels: LABELS }, LABELS, test.map(change))

// The door that people have: files, the command, the package.
const NAMES = ['SEATED', 'STANDING_UP', 'WALKING', 'TURNING', 'SITTING_DOWN']
const folder = join(values.work, 'windows')
rmSync(folder, { recursive: true, force: true })
mkdirSync(folder, { recursive: true })
const tables = new Map()
for (const { label, subject, motion } of train) {
  const lines = tables.get(subject) ?? []
  // Pauses of minutes part the windows of one person.
  const startS = 60 * Math.ceil(lines.length / motion.rows.length)
  const line = (row, n) => [(startS + n / motion.sampleRateHz).toFixed(6), ...row, NAMES[label], subject].join(',')
  tables.set(subject, [...lines, ...motion.rows.map(line)])
}
for (const [subject, lines] of tables)
  writeFileSync(join(folder, `${subject}.csv`), ['time_s,ax,ay,az,gx,gy,gz,label,subject', ...lines, ''].join('\n'))
const adapters = { 'linear head': [] }
for (const [name, options] of Object.entries(adapters)) {
  if (rows[name]) continue
  const out = join(values.work, name.replaceAll(' ', '-'))
  rmSync(out, { recursive: true, force: true })
  const command = [
    'adapter',
    'train',
    '--data',
    folder,
    '--out',
    out,
    '--image',
    image,
    '--seed',
    values.seed,
    '--fresh',
    ...options,
  ]
  const started = performance.now()
  execFileSync(process.execPath, [join(ROOT, 'dist/cli/main.js'), ...command, '--quiet'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const seconds = (performance.now() - started) / 1000
  const adapter = usableHead(
    await readHeadAdapter(out, { manifest: firmware.image.manifest, digest: firmware.image.digest }),
  )
  await measure(name, { adapter }, NAMES)
  rows[name].trainSeconds = seconds
}

const counts = NAMES.map((name, k) => [name, truth.filter((label) => label === k).length])
Object.assign(data, { devices, counts: Object.fromEntries(counts), confidence: IMU.confidence })
save(true)
writeMotionReport()
firmware.dispose()
process.exit(0)
