/** Part `report`: `results/README.md` from the newest result of each part. */

import { GGUFS, llamaName, m4Name, PERPLEXITY_GOALS, QUANTISATIONS, SPEED_GOALS } from './lib/contenders.mjs'
import { encoderRows, encodersSection } from './lib/encoders-report.mjs'
import { fullSizeRow, fullSizeSection } from './lib/full-size-report.mjs'
import { bullets, table } from './lib/markdown.mjs'
import { latestResults, writeReadme, writeReadmeBlock } from './lib/results.mjs'
import { say } from './lib/say.mjs'
import { median, minimum } from './lib/stats.mjs'
import { trainRows, trainSection } from './train/report.mjs'

const SECTIONS = Object.freeze({
  speed: { title: 'Speed', body: speedSection },
  memory: { title: 'Load time and memory', body: memorySection },
  perplexity: { title: 'Perplexity', body: perplexitySection },
  accuracy: { title: 'Accuracy', body: accuracySection },
  encoders: { title: 'Encoders and generators', body: encodersSection },
  'full-size': { title: 'The paper’s model at full size', body: fullSizeSection },
  train: { title: 'Training', body: trainSection },
})

export function report() {
  const results = latestResults()
  const sections = Object.entries(SECTIONS)
    .filter(([part]) => results.has(part))
    .map(([part, { title, body }]) => `## ${title}\n\n${origin(results.get(part))}\n\n${body(results.get(part))}`)
  writeReadme(
    `# Benchmark results\n\nWritten by \`npm run bench:engine -- report\`; do not edit.\n\n${sections.join('\n\n')}\n`,
  )
  writeReadmeBlock(summary(results))
  say(`report: ${sections.length} parts, and the block in README.md`)
}

/** The few lines that the project's README shows: what was compared, the number, where the rest stands. */
function summary(results) {
  const rows = []
  const speed = results.get('speed')
  if (speed) {
    const rates = (name, measure) => speed.data.rounds.map((round) => round[name][measure].tokensPerSecond)
    for (const goal of SPEED_GOALS) {
      if (!speed.protocol.contenders.includes(goal.ours) || !speed.protocol.contenders.includes(goal.theirs)) continue
      const [ours, theirs] = [goal.ours, goal.theirs].map((name) => median(rates(name, goal.measure)).toFixed(0))
      const [what, compared, ratio] = goalRow(goal, speed.data.rounds, rates)
      rows.push([what, compared, `${ratio} (${ours} / ${theirs} tokens/s)`])
    }
  }
  const memory = results.get('memory')
  if (memory) {
    const anonymous = (name) => median(memory.data.rounds.map((round) => round[name].afterLoad.anonymousMb)).toFixed(0)
    const [built, flashed] = [m4Name('int4'), m4Name('int4', true)].map(anonymous)
    rows.push([
      'anonymous memory after load',
      'm4 int4, built / flashed',
      `${(built / flashed).toFixed(1)} (${built} / ${flashed} MB)`,
    ])
  }
  const perplexity = results.get('perplexity')
  for (const quantisation of perplexity ? Object.keys(PERPLEXITY_GOALS) : []) {
    const changes = Object.values(perplexity.data).flatMap((text) => {
      const [ours, theirs] = [text[m4Name(quantisation)], text[llamaName('iq2')]]
      return ours && theirs ? [`${((ours.perplexity / theirs.perplexity - 1) * 100).toFixed(2)} %`] : []
    })
    if (changes.length === 0) continue
    rows.push([
      `perplexity, ${quantisation}`,
      'against llama.cpp on the source file (PTB, AG News)',
      changes.join(', '),
    ])
  }
  if (results.has('encoders')) rows.push(...encoderRows(results.get('encoders')))
  const fullSize = results.get('full-size')
  if (fullSize) rows.push(fullSizeRow(fullSize))
  if (results.has('train')) rows.push(...trainRows(results.get('train')))
  const { date, machine } = results.values().next().value
  const origin = `Measured ${date} on ${machine.cpu}, ${machine.cores} cores; 2 threads, interleaved. All of it, with protocol and raw rounds: [bench/results](bench/results/README.md).`
  return `## Measured\n\n${table(['what', 'compared', 'ratio or change'], rows)}\n\n${origin}\n`
}

function origin({ name, date, commit, complete, machine }) {
  const { cpu, cores, memoryGiB, system, node, onnxRuntime } = machine
  const where = `${cpu}, ${cores} cores, ${memoryGiB} GiB, ${system}, Node ${node}, ONNX Runtime ${onnxRuntime}`
  return `${date}, commit ${commit}, [raw data](${name})${complete ? '' : ' (**not complete**)'}. ${where}.`
}

/** Others’ work at the same time spoils speeds, and not evenly: one waiting thread holds up a whole product. Our own threads count too. */
function quietness({ protocol, data }) {
  const highest = Math.max(...data.rounds.map(({ loadAverage }) => loadAverage))
  const words = `Load average before the rounds: at most ${highest.toFixed(1)}`
  return highest > protocol.threads + 1 ? `**The machine was busy: these speeds do not count.** ${words}.` : `${words}.`
}

function speedSection({ protocol, data }) {
  const rates = (name, measure) => data.rounds.map((round) => round[name][measure].tokensPerSecond)
  // The best round is the fastest; a median next to it says how steady the machine was.
  const cell = (name, measure) =>
    `${median(rates(name, measure)).toFixed(1)} (${Math.max(...rates(name, measure)).toFixed(1)})`
  const rows = protocol.contenders.map((name) => [
    name,
    (data.models[name].weightBytes / 1e6).toFixed(0),
    cell(name, 'prefill128'),
    cell(name, 'prefill512'),
    cell(name, 'decode'),
    `${minimum(data.rounds.map((round) => round[name].decode.ms / 64)).toFixed(1)}`,
  ])
  const there = ({ ours, theirs }) => protocol.contenders.includes(ours) && protocol.contenders.includes(theirs)
  const goals = SPEED_GOALS.filter(there).map((goal) => goalRow(goal, data.rounds, rates))
  const versions = [...new Set(Object.values(data.models).map(({ version }) => version))].join('; ')
  return [
    `${protocol.model}. ${protocol.threads} threads, ${data.rounds.length} rounds: ${protocol.order}. Decode: ${protocol.decode}. Prefill: ${protocol.prefill}. ${versions}.`,
    table(
      [
        '',
        'weights, MB',
        'prefill 128, tokens/s',
        'prefill 512, tokens/s',
        'decode, tokens/s',
        'decode, best ms/token',
      ],
      rows,
    ),
    `Medians over the rounds, the best round in brackets. ${quietness({ protocol, data })}`,
    ...(goals.length
      ? [
          table(
            ['ratio', 'compared', 'median of the rounds’ ratios', 'of medians', 'of best rounds', 'goal', 'reached'],
            goals,
          ),
          bullets(Object.entries(GGUFS).map(([name, { about }]) => `\`llama.cpp ${name}\`: ${about}`)),
          bullets(Object.entries(QUANTISATIONS).map(([name, about]) => `\`m4 ${name}\`: ${about}`)),
        ]
      : []),
  ].join('\n\n')
}

function goalRow({ what, ours, theirs, measure, atLeast }, rounds, rates) {
  const paired = median(
    rounds.map((round) => round[ours][measure].tokensPerSecond / round[theirs][measure].tokensPerSecond),
  )
  const best = Math.max(...rates(ours, measure)) / Math.max(...rates(theirs, measure))
  const medians = median(rates(ours, measure)) / median(rates(theirs, measure))
  const goal = atLeast === undefined ? ['', ''] : [`≥ ${atLeast}`, paired >= atLeast ? 'yes' : '**no**']
  return [what, `${ours} / ${theirs}`, ...[paired, medians, best].map((ratio) => ratio.toFixed(2)), ...goal]
}

function memorySection({ protocol, data }) {
  const of = (name, pick) => median(data.rounds.map((round) => pick(round[name])))
  const rows = protocol.contenders.map((name) => [
    name,
    of(name, ({ loadMs }) => loadMs).toFixed(0),
    minimum(data.rounds.map((round) => round[name].loadMs)).toFixed(0),
    of(name, ({ runtimeMs }) => runtimeMs).toFixed(0),
    ...memoryCells((pick) => of(name, pick)),
  ])
  const flashed = Object.keys(QUANTISATIONS)
    .filter((quantisation) => protocol.contenders.includes(m4Name(quantisation, true)))
    .map((quantisation) => flashRow(quantisation, of))
  return [
    `${protocol.load}. ${protocol.memory}; first run: ${protocol.firstRun}. ${data.rounds.length} rounds. ${quietness({ protocol, data })}`,
    table(
      [
        '',
        'load ms, median',
        'best',
        'runtime ms',
        'resident MB after load',
        'anonymous MB after load',
        'resident MB after first run',
        'anonymous MB after first run',
      ],
      rows,
    ),
    ...(flashed.length
      ? [
          'Flashing: anonymous memory after load above that of the bare process, before and after (goal: 5 times lower).',
          table(['', 'as built, MB', 'flashed, MB', 'times lower', 'load ms'], flashed),
        ]
      : []),
  ].join('\n\n')
}

function memoryCells(of) {
  const missing = Number.isNaN(of(({ afterLoad }) => afterLoad?.residentMb ?? Number.NaN))
  if (missing) return ['', '', '', '']
  return [
    ({ afterLoad }) => afterLoad.residentMb,
    ({ afterLoad }) => afterLoad.anonymousMb,
    ({ afterFirstRun }) => afterFirstRun.residentMb,
    ({ afterFirstRun }) => afterFirstRun.anonymousMb,
  ].map((pick) => of(pick).toFixed(0))
}

function flashRow(quantisation, of) {
  const above = (name) => of(name, ({ afterLoad, before }) => afterLoad.anonymousMb - before.anonymousMb)
  const [built, flashed] = [above(m4Name(quantisation)), above(m4Name(quantisation, true))]
  const loads = [m4Name(quantisation), m4Name(quantisation, true)].map((name) =>
    of(name, ({ loadMs }) => loadMs).toFixed(0),
  )
  return [quantisation, built.toFixed(0), flashed.toFixed(0), (built / flashed).toFixed(1), loads.join(' → ')]
}

function perplexitySection({ protocol, data }) {
  const texts = Object.keys(data)
  const names = [...new Set(texts.flatMap((text) => Object.keys(data[text])))]
  const reference = llamaName('iq2')
  const against = names.includes(reference) ? reference : m4Name('int8')
  const rows = names.map((name) => {
    const quantisation = Object.keys(QUANTISATIONS).find((candidate) => m4Name(candidate) === name)
    const goal = against === reference ? PERPLEXITY_GOALS[quantisation] : undefined
    const ratios = texts.map((text) => data[text][name]?.perplexity / data[text][against]?.perplexity)
    return [
      name,
      ...texts.flatMap((text, i) => [data[text][name]?.perplexity.toFixed(3) ?? '', percent(ratios[i])]),
      goal ? `≤ ${percent(goal)}` : '',
      goal ? (ratios.every((ratio) => ratio <= goal) ? 'yes' : '**no**') : '',
    ]
  })
  return [
    `${protocol.windows}. ${protocol.tokens}. llama.cpp: ${protocol.llamaCpp}.`,
    bullets(protocol.texts.map(({ name, about }) => `${name}: ${about}`)),
    table(['', ...texts.flatMap((text) => [text, `against ${against}`]), 'goal', 'reached'], rows),
  ].join('\n\n')
}

const percent = (ratio) =>
  Number.isFinite(ratio) ? `${ratio >= 1 ? '+' : '−'}${Math.abs(100 * (ratio - 1)).toFixed(2)} %` : ''

function accuracySection({ protocol, data }) {
  const labelled = Object.entries(data).filter(([, { accuracy }]) => accuracy !== undefined)
  const spoken = Object.entries(data).filter(([, { rate }]) => rate !== undefined)
  return [
    `Seed ${protocol.seed}. ${protocol.labels}. Zero-shot: ${protocol.match}. Speech: ${protocol.speech}.`,
    table(
      ['', 'accuracy', '± (95 %)', 'n', 'without calibration'],
      labelled.map(([name, { accuracy, points, n, uncalibrated }]) => [
        name,
        `${(100 * accuracy).toFixed(1)} %`,
        points.toFixed(1),
        n,
        uncalibrated === undefined ? '' : `${(100 * uncalibrated).toFixed(1)} %`,
      ]),
    ),
    table(
      ['', 'word error rate', 'errors', 'words', 'clips'],
      spoken.map(([name, { rate, errors, words, clips }]) => [
        name,
        `${(100 * rate).toFixed(2)} %`,
        errors,
        words,
        clips,
      ]),
    ),
  ].join('\n\n')
}
