/** Section `encoders` of the report, and its lines in the project's README. */

import { bullets, table } from './markdown.mjs'
import { median, minimum } from './stats.mjs'

/** What must hold, as stated in the issue. */
const GOALS = Object.freeze({ ofPeak: 0.85, int8Speedup: 2, cosine: 0.999, peer: 1 })
const FAST_INT8 = 'w8a8'
/** What is compared with the peer: the same weights, the same 30 s of input. */
const OURS = 'm4 full'
const THEIRS = 'transformers.js base.en'

const percent = (share) => `${(100 * share).toFixed(1)} %`
const verdict = (holds) => (holds ? 'yes' : '**no**')
const ms = (times) => `${median(times).toFixed(0)} (${minimum(times).toFixed(0)})`

export function encodersSection({ protocol, data }) {
  const parts = { vit: vitPart, unet: unetPart, vits: vitsPart, whisper: whisperPart }
  const present = Object.entries(parts).filter(([name]) => data[name]?.rounds?.length)
  return [
    `${protocol.threads} threads. Medians over the rounds, the best round in brackets. RANDOM: seeded weights at full size: speed does not depend on what they are, a cosine does, and trained weights may have outliers.`,
    ...present.map(([name, part]) => part(data[name], protocol.parts[name])),
  ].join('\n\n')
}

/** Of each round, so that ours and what it is measured against saw the same mood of the machine. */
const ofPeak = (rounds, plan, key = 'gflops') => {
  const shape = bestShape(rounds, key)
  return median(rounds.map((round) => round[plan][key] / round.peak.shapes[shape][key]))
}

/** The best over all rounds: the best of each would be the luckiest. */
function bestShape(rounds, key) {
  const typical = (shape) => median(rounds.map((round) => round.peak.shapes[shape][key]))
  return Object.keys(rounds[0].peak.shapes).reduce((best, shape) => (typical(shape) > typical(best) ? shape : best))
}

const speedup = (rounds, plan) => median(rounds.map((round) => round.fp32.ms / round[plan].ms))

function vitPart({ rounds, models, agreement }, { model, peak, gflops }) {
  const rows = Object.keys(models).map((plan) => [
    plan,
    (models[plan].bytes / 1e6).toFixed(0),
    ms(rounds.map((round) => round[plan].ms)),
    median(rounds.map((round) => round[plan].gflops)).toFixed(0),
    ...(plan === 'fp32' ? peakCells(rounds) : int8Cells(rounds, plan, minimum(agreement[plan]))),
  ])
  const peaks = Object.keys(rounds[0].peak.shapes).map((shape) => {
    const rates = rounds.map((round) => round.peak.shapes[shape].gflops)
    return `${shape} ${median(rates).toFixed(0)} (${Math.max(...rates).toFixed(0)})`
  })
  return [
    `### Vision encoder ViT-H\n\n${model}. ${(models.fp32.macs / 1e9).toFixed(1)} G multiply-accumulates. GFLOP/s: ${gflops}. Peak: ${peak}; GFLOP/s by shape: ${peaks.join(', ')}.`,
    table(['plan', 'weights, MB', 'ms a picture', 'GFLOP/s', 'ratio', 'goal', 'reached', 'least cosine to fp32'], rows),
    'Ratios are medians of the rounds’ own.',
  ].join('\n\n')
}

/** ratio, goal, reached, least cosine */
function peakCells(rounds) {
  const [share, byCpu] = ['gflops', 'cpuGflops'].map((key) => ofPeak(rounds, 'fp32', key))
  const ratio = `${percent(share)} of the peak, ${percent(byCpu)} by CPU time`
  return [ratio, `≥ ${percent(GOALS.ofPeak)}`, verdict(share >= GOALS.ofPeak), '']
}

/** One int8 plan has to reach the goals; the other is there to be seen. */
function int8Cells(rounds, plan, cosine) {
  const ratio = speedup(rounds, plan)
  const cells = [`${ratio.toFixed(2)} times fp32`, '', '', cosine.toFixed(5)]
  if (plan !== FAST_INT8) return cells
  const holds = ratio >= GOALS.int8Speedup && cosine >= GOALS.cosine
  return [cells[0], `≥ ${GOALS.int8Speedup}, cosine ≥ ${GOALS.cosine}`, verdict(holds), cells[3]]
}

function unetPart({ rounds, models }, { model, w8a8, guided, peer }) {
  const rows = Object.keys(models).map((plan) => [
    plan,
    (models[plan].bytes / 1e6).toFixed(0),
    ms(rounds.map((round) => round[plan].ms)),
    median(rounds.map((round) => round[plan].gflops)).toFixed(0),
    speedup(rounds, plan).toFixed(2),
  ])
  return [
    `### U-Net step\n\n${model}. ${(models.fp32.macs / 1e9).toFixed(0)} G multiply-accumulates; w8a8: ${w8a8}. ${guided}. Peer: ${peer}.`,
    table(['plan', 'weights, MB', 'ms a step', 'GFLOP/s', 'times fp32'], rows),
  ].join('\n\n')
}

function vitsPart({ rounds }, { model, durations, factor, peer }) {
  const rows = Object.keys(rounds[0]).map((name) => {
    const factors = rounds.map((round) => round[name].factor)
    const [typical, best] = [median(factors), minimum(factors)].map((value) => value.toFixed(3))
    return [name, rounds[0][name].seconds.toFixed(1), ms(rounds.map((round) => round[name].ms)), `${typical} (${best})`]
  })
  return [
    `### Voice\n\n${model}. ${durations}. Real-time factor: ${factor}. Peer: ${peer}.`,
    table(['sentence', 'sound, s', 'ms', 'real-time factor'], rows),
  ].join('\n\n')
}

/** How many times faster than the peer, clip by clip. */
const peerRatio = (rounds, ours, clip) => median(rounds.map((round) => round[THEIRS][clip].ms / round[ours][clip].ms))

function whisperPart({ rounds, models, texts }, { factor, order, ...contenders }) {
  const names = Object.keys(rounds[0])
  const clips = Object.keys(rounds[0][names[0]])
  const rows = names.map((name) => [
    name,
    ...clips.map((clip) => {
      const factors = rounds.map((round) => round[name][clip].factor)
      return `${median(factors).toFixed(3)} (${minimum(factors).toFixed(3)})`
    }),
  ])
  const lengths = clips.map((clip) => `${clip}, ${rounds[0][names[0]][clip].seconds.toFixed(1)} s`)
  const versions = [...new Set(Object.values(models).map(({ version }) => version))].join('; ')
  const parts = [
    `### Whisper\n\nReal-time factor: ${factor}. ${rounds.length} rounds: ${order}. ${versions}.`,
    bullets(names.map((name) => `\`${name}\`: ${contenders[name]}`)),
    table(['', ...lengths], rows),
  ]
  if (names.includes(THEIRS)) parts.push(peerTable(rounds, clips, names), sameWords(texts, clips))
  return parts.join('\n\n')
}

const peerTable = (rounds, clips, names) =>
  table(
    ['times faster than the peer on the same weights', ...clips, 'goal', 'reached'],
    names
      .filter((name) => name.startsWith('m4'))
      .map((name) => {
        const ratios = clips.map((clip) => peerRatio(rounds, name, clip))
        return [
          name,
          ...ratios.map((ratio) => ratio.toFixed(2)),
          `≥ ${GOALS.peer}`,
          verdict(minimum(ratios) >= GOALS.peer),
        ]
      }),
  )

function sameWords(texts, clips) {
  const same = clips.filter((clip) => texts[OURS][clip].text === texts[THEIRS][clip].text)
  return `\`${OURS}\` and \`${THEIRS}\` wrote the same text for ${same.length} of ${clips.length} clips.`
}

/** Lines for the README: what, compared, number. */
export function encoderRows({ data: { vit, vits, unet, whisper } }) {
  const rows = []
  if (vit?.rounds?.length) {
    const cosine = minimum(vit.agreement[FAST_INT8]).toFixed(4)
    const faster = speedup(vit.rounds, FAST_INT8).toFixed(2)
    rows.push([
      'ViT-H (random weights), fp32',
      'GFLOP/s / MatMul peak of the machine',
      percent(ofPeak(vit.rounds, 'fp32')),
    ])
    rows.push(['ViT-H (random weights), W8A8', 'fp32 / W8A8, cosine', `${faster}, ${cosine}`])
  }
  if (whisper?.rounds?.[0]?.[THEIRS]) {
    const clips = Object.keys(whisper.rounds[0][OURS])
    const ratios = clips.map((clip) => peerRatio(whisper.rounds, OURS, clip).toFixed(2))
    rows.push(['Whisper base.en, whole requests', `transformers.js / M4, ${clips.join(', ')}`, ratios.join(', ')])
  }
  if (vits?.rounds?.length) {
    const factor = median(vits.rounds.map((round) => round['long fp32'].factor)).toFixed(2)
    rows.push(['VITS at MMS size (random weights)', 'time / length of the sound', factor])
  }
  if (unet?.rounds?.length) {
    const seconds = (median(unet.rounds.map((round) => round.fp32.ms)) / 1000).toFixed(1)
    rows.push(['Stable Diffusion 1.5 U-Net (random weights)', 'one step, 64 × 64 latents, fp32', `${seconds} s`])
  }
  return rows
}
