/** What is odd about a set as a whole: copies, contradictions, texts beyond a context, a single class. */

import type { FindingList } from './findings.js'
import { answerOf, labelOf, placeOf, sampleKeys } from './keys.js'
import type { Reading } from './reader.js'
import type { OpenOptions, Sample } from './samples.js'

/** About 2048 tokens of English. */
const LONG_CHARACTERS = 8192

export function checkSamples(
  reading: Reading,
  labels: readonly string[],
  options: OpenOptions,
  findings: FindingList,
): void {
  const { samples, kind } = reading
  if (!samples.length) {
    findings.add('no-samples', 'Nothing is left to train on: every row or file was left out.')
    return
  }
  reportLong(samples, options.longCharacters ?? LONG_CHARACTERS, findings)
  reportCopies(reading, findings)
  if (labelOf(samples[0]!) !== undefined && labels.length === 1)
    findings.add(
      'one-class',
      `All ${samples.length} samples have the label "${labels[0]}": there is nothing to tell apart.`,
      {
        severity: options.use === 'eval' ? 'warning' : 'error',
      },
    )
  if (kind === 'image-objects' && !samples.some((sample) => sample.kind === 'image-objects' && sample.objects.length))
    findings.add('no-samples', 'No picture has an object to learn from.')
}

function reportLong(samples: readonly Sample[], limit: number, findings: FindingList): void {
  for (const sample of samples) {
    const characters = textLength(sample)
    if (characters <= limit) continue
    const row = 'row' in sample && sample.row !== undefined ? { row: sample.row } : {}
    findings.add(
      'long-sample',
      `${capital(placeOf(sample))} has ${characters} characters, more than ${limit}: the part beyond the model's context will be cut.`,
      row,
    )
  }
}

function textLength(sample: Sample): number {
  switch (sample.kind) {
    case 'text-label':
      return sample.text.length
    case 'prompt-answer':
      return sample.prompt.length + sample.answer.length
    case 'chat':
      return sample.messages.reduce((sum, { content }) => sum + content.length, sample.answer.length)
    default:
      return 0
  }
}

/** Same question and answer: a copy. Same question and another label: a contradiction; other answers or captions are none. */
function reportCopies({ samples, files }: Reading, findings: FindingList): void {
  const keyOf = sampleKeys({ files })
  const first = new Map<string, Sample>()
  for (const sample of samples) {
    const key = keyOf(sample)
    const before = first.get(key)
    if (!before) {
      first.set(key, sample)
      continue
    }
    const place = 'row' in sample && sample.row !== undefined ? { row: sample.row } : {}
    if (answerOf(before) === answerOf(sample))
      findings.add('duplicate', `${capital(placeOf(sample))} repeats ${placeOf(before)}.`, place)
    else if (labelOf(sample) !== undefined)
      findings.add(
        'contradiction',
        `${capital(placeOf(sample))} says "${labelOf(sample)}" of what ${placeOf(before)} calls "${labelOf(before)}".`,
        place,
      )
  }
}

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1)
