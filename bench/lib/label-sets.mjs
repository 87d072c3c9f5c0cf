/** SST-2 and AG News as samples, examples for the prompt, and texts for calibration; drawn by seed, no row in two of them. */

import { readFileSync } from 'node:fs'
import { randomSource } from '../../dist/core/random.js'
import { csvFields, dataLines, dataPath } from './texts.mjs'

/** Longer texts make poor examples: they push the rest of the prompt away. */
const EXAMPLE_CHARACTERS = 200

/** Samples from test.tsv, examples and calibration texts from train.tsv. */
export function sst2(seed, count, calibrationCount) {
  const labels = ['negative', 'positive']
  const rows = (file) =>
    dataLines(file).map((line) => {
      const [text, label] = line.split('\t')
      return { text: text.trim(), label: labels[Number(label)] }
    })
  const train = shuffled(rows('sst2/train.tsv'), seed)
  // Positive first: 89 against 85 of 100 rows of dev.tsv.
  const examples = drawExamples(train, ['positive', 'negative'], 2)
  return {
    labels,
    names: { input: 'Review', output: 'Sentiment' },
    samples: shuffled(rows('sst2/test.tsv'), seed).slice(0, count),
    examples,
    unlabelled: without(train, examples)
      .slice(0, calibrationCount)
      .map(({ text }) => text),
  }
}

/** Only the test set is here: disjoint parts of it serve as samples, examples and calibration texts. */
export function agNews(seed, count, calibrationCount) {
  const labels = ['World', 'Sports', 'Business', 'Technology']
  const all = readFileSync(dataPath('ag_news/test.csv'), 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map(csvFields)
    .map(([label, title, description]) => ({
      text: `${title}. ${description}`.replaceAll('\\', ' ').replace(/\s+/g, ' ').trim(),
      label: labels[Number(label) - 1],
    }))
  const rows = shuffled(all, seed)
  const samples = rows.slice(0, count)
  const examples = drawExamples(rows.slice(count), labels, 1)
  return {
    labels,
    names: { input: 'News', output: 'Topic' },
    samples,
    examples,
    unlabelled: without(rows.slice(count), examples)
      .slice(0, calibrationCount)
      .map(({ text }) => text),
    descriptions: {
      World: 'International news about politics, governments, wars, elections and world affairs.',
      Sports: 'Sports news about games, teams, players, matches, championships and the Olympics.',
      Business: 'Business news about companies, markets, stocks, oil prices and the economy.',
      Technology: 'Science and technology news about computers, software, the internet, space and research.',
    },
  }
}

const without = (rows, taken) => rows.filter((row) => !taken.some(({ text }) => text === row.text))

/** The first short rows of each label, the labels in turn. */
function drawExamples(rows, labels, each) {
  const short = rows.filter(({ text }) => text.length <= EXAMPLE_CHARACTERS)
  const byLabel = labels.map((label) => short.filter((row) => row.label === label).slice(0, each))
  return Array.from({ length: each }, (_, i) => byLabel.map((list) => list[i])).flat()
}

/** Fisher–Yates, from the end. */
function shuffled(rows, seed) {
  const uniform = randomSource(seed)
  const out = [...rows]
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(uniform() * (i + 1))
    ;[out[i], out[j]] = [out[j], out[i]]
  }
  return out
}
