/**
 * Adapters trained on real data and measured through the runtime: TinyLlama on SST-2, AG News and tweet emoji, with 0, 1, 10 % and
 * more of the data; prompt and prefix tuning; ranks 1 to 32 (paper, Figure 10); adapters trained on one form of the weights and
 * served on the others.
 *
 *   node bench/adapters.mjs [--data ../shared/data] [--only NAME[,NAME]] [--list]
 *
 * Every run is kept as soon as it is done (bench/results/adapters.json), so the list can be stopped and gone on with.
 */

import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { readSets } from './adapters/data.mjs'
import { writeReport } from './adapters/report.mjs'
import { RUNS } from './adapters/runs.mjs'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const { values } = parseArgs({
  options: {
    data: { type: 'string', default: join(ROOT, '..', 'shared', 'data') },
    only: { type: 'string' },
    list: { type: 'boolean' },
    results: { type: 'string', default: join(ROOT, 'bench', 'results', 'adapters.json') },
    home: { type: 'string', default: process.env.M4FM_HOME },
  },
})
const wanted = values.only?.split(',')
const runs = RUNS.filter(({ name }) => !wanted || wanted.some((start) => name.startsWith(start)))
if (values.list) {
  for (const { name, about } of runs) console.log(`${name.padEnd(28)} ${about}`)
  process.exit(0)
}

const done = existsSync(values.results) ? JSON.parse(readFileSync(values.results, 'utf8')) : { runs: {} }
const work = join(values.home ?? '.', 'bench-adapters')
mkdirSync(work, { recursive: true })
const sets = readSets(values.data, work)
for (const run of runs) {
  if (done.runs[run.name]) continue
  console.log(`${new Date().toISOString()} ${run.name}: ${run.about}`)
  // A process of its own, so that its peak memory is its own.
  const request = JSON.stringify({ ...run, data: sets[run.set], home: values.home, out: join(work, run.name) })
  const child = fileURLToPath(new URL('adapters/one.mjs', import.meta.url))
  const answer = execFileSync(process.execPath, [child], {
    input: request,
    maxBuffer: 1e9,
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  done.machine = { cpu: cpus()[0].model, cores: cpus().length, memoryBytes: totalmem(), node: process.version }
  done.runs[run.name] = {
    about: run.about,
    date: new Date().toISOString().slice(0, 16),
    commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: ROOT }).toString().trim(),
    ...JSON.parse(answer.toString().split('\n').at(-2)),
  }
  writeFileSync(values.results, `${JSON.stringify(done, null, 1)}\n`)
  writeReport(done, join(ROOT, 'bench', 'results'))
}
writeReport(done, join(ROOT, 'bench', 'results'))
