/** Answers and reports as text for people. */

import type { Outputs, Report, Task } from '../runtime/requests.js'
import { formatMs, plural, table } from './print.js'
import { formatBytes } from './progress.js'

/** Tasks whose answer comes piece by piece; the rest is printed when it is whole. */
export const STREAMED: ReadonlySet<Task> = new Set(['generate', 'complete', 'listen', 'describe'])

const percent = (share: number) => `${(100 * share).toFixed(1)} %`

const pictureLine = ({ width, height }: Outputs['paint']) => `a picture of ${width} × ${height} dots`

const ANSWERS: Readonly<{ [T in Task]: (output: Outputs[T]) => string }> = Object.freeze({
  generate: ({ text }) => text,
  complete: ({ text }) => text,
  listen: ({ text }) => text,
  transcribe: ({ text }) => text,
  classify: ({ label, scores }) =>
    `${label}\n${table(
      scores.map((score) => [`  ${score.label}`, percent(score.probability)]),
      ['left', 'right'],
    )}`,
  embed: ({ embeddings }) => embeddings.map((vector) => JSON.stringify(Array.from(vector))).join('\n'),
  similarity: ({ similarities }) =>
    table(
      similarities.map((row) => row.map((value) => value.toFixed(3))),
      similarities[0]?.map(() => 'right'),
    ),
  match: ({ matches }) =>
    matches
      .map(({ label, confident, scores }) => {
        const rest = scores
          .map(({ label: name, similarity, probability }) =>
            probability === undefined
              ? `${name} ${similarity!.toFixed(3)}`
              : `${name} ${percent(probability)}${similarity === undefined ? '' : `, cosine ${similarity.toFixed(3)}`}`,
          )
          .join(', ')
        return `${label}${confident === false ? ', not confident' : ''}  (${rest})`
      })
      .join('\n'),
  retrieve: ({ results }) =>
    results
      .map((row) => row.map(({ index, similarity }) => `${index} ${similarity.toFixed(3)}`).join('\n'))
      .join('\n\n'),
  describe: ({ text }) => text,
  detect: ({ boxes }) =>
    boxes.length
      ? table(
          boxes.map(({ label, score, box }) => [label, percent(score), box.map((dots) => dots.toFixed(1)).join(', ')]),
          ['left', 'right', 'left'],
        )
      : 'nothing',
  keypoints: ({ points }) =>
    table(
      points.map(({ name, score, x, y }) => [name, percent(score), `${x.toFixed(1)}, ${y.toFixed(1)}`]),
      ['left', 'right', 'left'],
    ),
  segment: (output) => `a mask of ${output.width} × ${output.height} dots`,
  count: ({ count }) => count.toFixed(1),
  paint: pictureLine,
  upscale: pictureLine,
  speak: ({ durationS, sampleRateHz, sentences, unspoken }) =>
    [
      `${durationS.toFixed(2)} s of speech at ${sampleRateHz} Hz, ${plural(sentences.length, 'sentence')}`,
      ...(unspoken.length ? [`left out, for this voice has no sound for them: ${unspoken.join(' ')}`] : []),
    ].join('\n'),
})

export function formatAnswer<T extends Task>(task: T, output: Outputs[T]): string {
  return ANSWERS[task](output)
}

/** `path 1: AUD-I → backbone`, as the paper numbers paths. */
export const formatPath = ({ path, modules }: Report): string =>
  `path ${path}: ${modules.map(({ role }) => role).join(' → ')}`

/** A few lines: image, path, modules with their bytes, time by stage, tokens. */
export function formatReport(report: Report): string {
  const { image, modules, stages, totalMs, tokens, random } = report
  const woken = modules.map(
    ({ role, weightBytes, loaded, loadMs }) =>
      `${role} ${formatBytes(weightBytes)} (${loaded === 'now' ? `loaded in ${formatMs(loadMs)}` : 'was loaded'})`,
  )
  const counted = Object.entries(tokens).filter(([, count]) => count > 0)
  return table([
    ...(random ? [['random', 'weights are random: this answer means nothing']] : []),
    ['image', `${image.name} ${image.version} (${image.digest.slice(0, 12)})`],
    ['path', formatPath(report)],
    ['modules', woken.join(', ')],
    ['time', `${formatMs(totalMs)}: ${stages.map(({ name, ms }) => `${name} ${formatMs(ms)}`).join(', ')}`],
    ['tokens', counted.map(([kind, count]) => `${count} ${kind}`).join(', ') || 'none'],
  ])
}

/** One line, for behind a chat turn. */
export function formatReportLine(report: Report): string {
  const { tokens, totalMs, random } = report
  const decodeMs = report.stages.find(({ name }) => name === 'decode')?.ms
  const rate = decodeMs ? `, ${((1000 * tokens.generated) / decodeMs).toFixed(1)} tokens/s` : ''
  return `${formatPath(report)} · ${plural(tokens.generated, 'token')} in ${formatMs(totalMs)}${rate}${random ? ' · random weights: means nothing' : ''}`
}
