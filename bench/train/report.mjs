/** The section on training: what was measured, against what, and lines for the README. */

import { table } from '../lib/markdown.mjs'
import { median, minimum } from '../lib/stats.mjs'

/** Losses of two trainers count as the same up to this. */
const SAME_LOSS = 1e-3

const cell = (values, digits = 0) => `${median(values).toFixed(digits)} (${minimum(values).toFixed(digits)})`
const ratioOf = (rounds, of) => median(rounds.map(of))

export function trainSection({ protocol, data }) {
  const parts = { full: fullPart, lora: loraPart, start: startPart, gradients: gradientsPart }
  const present = Object.keys(parts).filter((name) => data[name] && Object.keys(data[name]).length)
  return [
    `${protocol.threads} threads. Medians over the rounds, the best in brackets. ${quietness(protocol, data)}`,
    ...present.map((name) => parts[name](data[name], protocol.parts[name])),
  ].join('\n\n')
}

/** Others’ work at the same time spoils speeds; our own threads count too. */
function quietness({ threads }, data) {
  const loads = Object.values(data).flatMap(({ loadAverages = [] }) => loadAverages)
  if (!loads.length) return ''
  const highest = Math.max(...loads)
  const words = `Load average before the rounds: at most ${highest.toFixed(1)}`
  return highest > threads + 1 ? `**The machine was busy: these speeds do not count.** ${words}.` : `${words}.`
}

const stepMs = (taken) => median(taken.ms)

function fullPart({ rounds, peaks, models, agreement }, protocol) {
  const { model, compared, steps, m4, pytorch, tfjs } = protocol
  const rows = Object.keys(models).map((name) => {
    const own = rounds.map((round) => round[name]).filter(Boolean)
    const { batch, version } = models[name]
    const peak = Math.max(...own.map(({ peakMb }) => peakMb))
    return [
      name,
      version,
      `${batch.rows} × ${batch.length}`,
      cell(own.flatMap(({ ms }) => ms)),
      median(own.map(({ tokensPerSecond }) => tokensPerSecond)).toFixed(0),
      peak.toFixed(0),
    ]
  })
  const ratios = []
  if (models.pytorch) {
    ratios.push(['speed, m4 / PyTorch', `${fasterThanPyTorch(rounds).toFixed(2)} times`])
    ratios.push(['peak memory, m4 / PyTorch', memoryRatio(rounds).toFixed(2)])
    ratios.push(['losses against PyTorch', sameLosses(agreement.pytorch)])
  }
  if (models.tfjs) {
    const both = rounds.filter((round) => round.tfjs)
    const ratio = ratioOf(both, (round) => stepMs(round.tfjs) / stepMs(round['m4 small']))
    ratios.push(['speed, m4 / TensorFlow.js', `${ratio.toFixed(0)} times`])
    ratios.push(['losses against TensorFlow.js', sameLosses(agreement.tfjs)])
  }
  return [
    `### Full training\n\n${model}. ${rounds.length} rounds: ${steps}. m4: ${m4}. PyTorch: ${pytorch}. TensorFlow.js: ${tfjs}. Losses of the first ${compared} steps are compared.`,
    table(['', 'runtime', 'batch', 'ms a step', 'tokens/s', 'peak MB'], rows),
    ...(ratios.length ? [table(['compared', 'value'], ratios)] : []),
    ...(peaks?.length ? [boundPart({ rounds, peaks }, protocol)] : []),
  ].join('\n\n')
}

/** What the processor itself allows: no trainer is faster than its products. */
function boundPart({ rounds, peaks }, { stepMacs, peak }) {
  const engines = Object.keys(peaks[0])
  const shapes = Object.keys(peaks[0][engines[0]])
  const rows = engines.map((engine) => [
    engine,
    ...shapes.map((shape) => {
      const rates = peaks.map((round) => round[engine][shape])
      return `${median(rates).toFixed(0)} (${Math.max(...rates).toFixed(0)})`
    }),
  ])
  const { gflop, floorMs, share, highest } = bound({ rounds, peaks }, stepMacs)
  const facts = [
    ['products of a step', `${gflop.toFixed(0)} GFLOP`],
    ['the least time for them, at the highest rate of the round', `${floorMs.toFixed(0)} ms`],
    ['share of that rate that a whole step of m4 reaches', `${(100 * share).toFixed(0)} %`],
  ]
  if (highest !== undefined)
    facts.push(['the highest speed, any trainer / PyTorch, on this processor', `${highest.toFixed(2)} times`])
  return [
    `What any trainer can reach here. Peak: ${peak}; GFLOP/s. Two operations a multiply-accumulate, masked scores left out; what is not a product counts as nothing.`,
    table(['', ...shapes], rows),
    table(['bound', 'value'], facts),
  ].join('\n\n')
}

/** By round, since the machine's speed changes: the best product of any engine is the peak. */
function bound({ rounds, peaks }, stepMacs) {
  const gflop = (2 * stepMacs) / 1e9
  const floors = peaks.map((round) => (1000 * gflop) / Math.max(...Object.values(round).flatMap(Object.values)))
  const over = (name) => median(rounds.map((round, i) => stepMs(round[name]) / floors[i]))
  return {
    gflop,
    floorMs: median(floors),
    share: 1 / over('m4'),
    highest: rounds[0].pytorch ? over('pytorch') : undefined,
  }
}

const sameLosses = ({ steps, largest }) =>
  `${largest <= SAME_LOSS ? 'the same' : '**not the same**'}: largest difference over ${steps} steps ${largest.toExponential(1)}`

const fasterThanPyTorch = (rounds) => ratioOf(rounds, (round) => stepMs(round.pytorch) / stepMs(round.m4))
const memoryRatio = (rounds) => ratioOf(rounds, (round) => round.m4.peakMb / round.pytorch.peakMb)

const int8Ratio = (rounds) => ratioOf(rounds, (round) => round.int8.tokensPerSecond / round.fp32.tokensPerSecond)

function loraPart({ rounds }, { model, batch, steps, int8, image, fp32 }) {
  const rows = Object.keys(rounds[0]).map((name) => {
    const own = rounds.map((round) => round[name])
    const rates = own.map(({ tokensPerSecond }) => tokensPerSecond)
    return [
      name,
      cell(own.flatMap(({ ms }) => ms)),
      `${median(rates).toFixed(0)} (${Math.max(...rates).toFixed(0)})`,
      median(own.map(({ load }) => load.loadMs / 1000)).toFixed(1),
      Math.max(...own.map(({ peakMb }) => peakMb)).toFixed(0),
    ]
  })
  const ratio = rounds[0].int8 && rounds[0].fp32 ? int8Ratio(rounds) : undefined
  return [
    `### LoRA on TinyLlama\n\n${model}; ${batch.rows} × ${batch.length} tokens a step. ${rounds.length} rounds: ${steps}. int8: ${int8}. image: ${image}. fp32: ${fp32}.`,
    table(['', 'ms a step', 'tokens/s', 'load s', 'peak MB'], rows),
    ...(ratio === undefined ? [] : [`int8 / fp32: ${ratio.toFixed(2)} times as many tokens a second.`]),
  ].join('\n\n')
}

const startSeconds = (rounds, how) => rounds.map((round) => round[how].ms / 1000)

const startPart = ({ rounds }, { command, until, cold, warm }) =>
  [
    `### Time to the first loss\n\n\`${command}\`, until ${until}. Cold: ${cold}. Warm: ${warm}.`,
    table(
      ['', 'seconds'],
      ['cold', 'warm'].map((how) => [how, cell(startSeconds(rounds, how), 1)]),
    ),
  ].join('\n\n')

function gradientsPart({ losses, cosines }, { model, text, adapter, fp32, source }) {
  const rows = Object.entries(cosines).flatMap(([reference, forms]) =>
    Object.entries(forms).map(([form, { all, A, B, least, length }]) => [
      form,
      reference,
      ...[all, A, B, least].map((value) => value.toFixed(4)),
      length.toFixed(3),
      (losses[form] - losses[reference]).toFixed(4),
    ]),
  )
  return [
    `### Gradients\n\n${model}; ${text}. ${adapter}. fp32: ${fp32}. source: ${source}.`,
    table(['', 'against', 'cosine', 'of A', 'of B', 'least of a matrix', 'ratio of lengths', 'loss, difference'], rows),
  ].join('\n\n')
}

/** Lines for the README: what, compared, number. */
export function trainRows({ protocol, data: { full, lora, start, gradients } }) {
  const rows = []
  if (full?.models?.pytorch && full.rounds?.length) {
    const speed = fasterThanPyTorch(full.rounds).toFixed(2)
    const most = full.peaks ? bound(full, protocol.parts.full.stepMacs).highest : undefined
    const limit = most === undefined ? '' : ` (the processor allows ${most.toFixed(2)})`
    const numbers = `${speed}${limit}, ${memoryRatio(full.rounds).toFixed(2)}`
    rows.push(['training in full, 15 M LLaMA (random weights)', 'speed and peak memory, m4 / PyTorch', numbers])
  }
  if (lora?.rounds?.[0]?.int8 && lora.rounds[0].fp32) {
    const rate = median(lora.rounds.map((round) => round.int8.tokensPerSecond)).toFixed(0)
    rows.push(['LoRA on TinyLlama', 'int8 / fp32', `${int8Ratio(lora.rounds).toFixed(2)} (${rate} tokens/s)`])
  }
  if (gradients?.cosines?.fp32?.int8)
    rows.push(['its gradients', 'cosine, int8 to fp32', gradients.cosines.fp32.int8.all.toFixed(4)])
  if (start?.rounds?.length) {
    const [cold, warm] = ['cold', 'warm'].map((how) => median(startSeconds(start.rounds, how)).toFixed(1))
    rows.push(['`m4fm adapter train`, to the first loss', 'first time on an image, later', `${cold} s, ${warm} s`])
  }
  return rows
}
