/** One run, in its own process: the request on standard input, the result as the last line of standard output. */

import { readFileSync } from 'node:fs'
import { openEngine } from '../../dist/engine/index.js'
import { openImage, resolveImage } from '../../dist/firmware/image.js'
import { evaluateAdapter, trainAdapter } from '../../dist/train/index.js'

const run = JSON.parse(readFileSync(0, 'utf8'))
const home = run.home ? { home: run.home } : {}
const engine = await openEngine()
const open = async (name) => openImage(await resolveImage(name, home))
const started = performance.now()
let firstLossMs
const report = await trainAdapter({
  data: run.data.train,
  evalData: run.data.eval,
  image: await open(run.image),
  engine,
  ...home,
  out: run.out,
  options: run.options,
  measured: run.measured,
  measureBase: run.measureBase ?? false,
  onStep: ({ step, steps, loss, evalLoss, unitsPerSecond }) => {
    firstLossMs ??= performance.now() - started
    if (step % 10 === 0 || evalLoss !== undefined)
      console.error(
        `  ${step}/${steps} loss ${loss.toFixed(3)} ${evalLoss === undefined ? '' : `held out ${evalLoss.toFixed(3)} `}${unitsPerSecond.toFixed(0)} tokens/s`,
      )
  },
})
const score = (measured) => measured && { value: measured.value, stderr: measured.stderr, count: measured.count }
const served = {}
for (const name of run.serveOn ?? []) {
  const answer = await evaluateAdapter({
    adapter: run.out,
    image: await open(name),
    engine,
    measureBase: run.measureBase ?? false,
  })
  served[name] = { ...score(answer.measured), ...(answer.base ? { base: answer.base.value } : {}) }
  console.error(`  served on ${name}: ${answer.measured.value.toFixed(3)}`)
}
const { fit, plan } = report
console.log(
  JSON.stringify({
    set: run.set,
    image: run.image,
    options: run.options,
    samples: plan.trainSamples,
    parameters: plan.parameters,
    adapterBytes: report.bytes,
    metric: report.metric?.name,
    adapter: score(report.metric),
    zeroShot: score(report.base),
    heldOutLoss: fit.evaluations,
    loss: { first: fit.losses[0], last: fit.losses.at(-1) },
    keptStep: fit.step,
    seconds: Math.round(fit.seconds),
    tokensPerSecond: Math.round(fit.unitsPerSecond),
    firstLossSeconds: Number((firstLossMs / 1000).toFixed(1)),
    peakMemoryBytes: report.peakMemoryBytes,
    estimatedMemoryBytes: plan.memory.totalBytes,
    ...(run.serveOn ? { served } : {}),
  }),
)
