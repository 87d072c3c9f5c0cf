/**
 * Trains the small modules of `lite` again and writes them to `weights/lite`.
 *
 *   npm run train:lite -- [--data ../shared/data] [--only NAME[,NAME]] [--out weights/lite] [--seed 7] [--smoke] [--list]
 */

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ensureBuilt, ensureInstalled, ROOT } from './ensure.mjs'

ensureInstalled()
ensureBuilt()
const { openEngine } = await import('../dist/engine/index.js')
const { LITE_TRAININGS, writeLiteModule } = await import('../dist/train/lite/index.js')

const { values } = parseArgs({
  options: {
    data: { type: 'string', default: join(ROOT, '..', 'shared', 'data') },
    out: { type: 'string', default: join(ROOT, 'weights', 'lite') },
    only: { type: 'string' },
    seed: { type: 'string', default: '7' },
    home: { type: 'string' },
    smoke: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
  },
})
if (values.list) {
  for (const [name, { about }] of Object.entries(LITE_TRAININGS)) console.log(`${name.padEnd(20)} ${about}`)
  process.exit(0)
}
const wanted = values.only?.split(',') ?? Object.keys(LITE_TRAININGS)
const unknown = wanted.find((name) => !Object.hasOwn(LITE_TRAININGS, name))
if (unknown !== undefined) {
  console.error(`Unknown module "${unknown}". Known: ${Object.keys(LITE_TRAININGS).join(', ')}.`)
  process.exit(2)
}
const stop = new AbortController()
process.once('SIGINT', () => stop.abort())
await mkdir(values.out, { recursive: true })
const engine = await openEngine()
for (const name of wanted) {
  console.log(`${name}: ${LITE_TRAININGS[name].about}`)
  const made = await LITE_TRAININGS[name].train({
    engine,
    data: values.data,
    ...(values.home ? { home: values.home } : {}),
    seed: Number(values.seed),
    smoke: values.smoke,
    signal: stop.signal,
    onLine: (line) => console.log(`  ${line}`),
  })
  const { sha256, bytes } = await writeLiteModule(values.out, name, made)
  for (const [metric, { value, count }] of Object.entries(made.record.metrics))
    console.log(`  ${metric}: ${value} (n ${count})`)
  console.log(`  weights/lite/${name}.safetensors ${bytes} bytes, sha256 ${sha256}`)
}
