/** The sets as the trainer reads them: CSV with text and label in words. */

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const quoted = (text) => `"${text.replaceAll('"', '""').replaceAll('\n', ' ')}"`
const csv = (rows) => `text,label\n${rows.map(([text, label]) => `${quoted(text)},${quoted(label)}`).join('\n')}\n`
const lines = (path) =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '')

/** Names that tell more than the sign, to a model that reads bytes of it. */
const emojiName = (mapping) => mapping.split('\t')[2].replaceAll('_', ' ').trim()

const READERS = {
  sst2: (folder) => {
    const rows = (name) =>
      lines(join(folder, 'sst2', name)).map((line) => {
        const at = line.lastIndexOf('\t')
        return [line.slice(0, at), line.slice(at + 1) === '1' ? 'positive' : 'negative']
      })
    return { train: rows('train.tsv'), eval: rows('test.tsv') }
  },
  agnews: (folder) => {
    const names = ['world', 'sports', 'business', 'technology']
    const rows = lines(join(folder, 'ag_news', 'test.csv')).flatMap((line) => {
      const cells = /^"(\d)","(.*)","(.*)"$/.exec(line)
      return cells ? [[`${cells[2]} ${cells[3]}`.replaceAll('\\', ' '), names[cells[1] - 1]]] : []
    })
    // Only the test file is at hand: every 20th row is measured on, the others are trained on.
    return { train: rows.filter((_, i) => i % 20), eval: rows.filter((_, i) => i % 20 === 0) }
  },
  emoji: (folder) => {
    const base = join(folder, 'tweet_eval', 'emoji')
    const names = lines(join(base, 'mapping.txt')).map(emojiName)
    const rows = (side) => {
      const labels = lines(join(base, `${side}_labels.txt`))
      return readFileSync(join(base, `${side}_text.txt`), 'utf8')
        .split('\n')
        .flatMap((text, i) => (text.trim() && labels[i] ? [[text.trim(), names[labels[i]]]] : []))
    }
    return { train: rows('train'), eval: rows('test') }
  },
}

/** Paths of the files of each set. A draw that leaves no order of the source: every 7th sample first, and so on. */
export function readSets(folder, work) {
  const spread = (rows) => Array.from({ length: 7 }, (_, k) => rows.filter((_, i) => i % 7 === k)).flat()
  return Object.fromEntries(
    Object.entries(READERS).map(([name, read]) => {
      const sides = read(folder)
      const paths = Object.fromEntries(
        Object.entries(sides).map(([side, rows]) => {
          const path = join(work, `${name}-${side}.csv`)
          writeFileSync(path, csv(spread(rows)))
          return [side, path]
        }),
      )
      return [name, paths]
    }),
  )
}
