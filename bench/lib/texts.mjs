/** Texts to measure on: the public sets beside the checkout where they are, else a public-domain text kept here. */

import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const DATA = new URL('../../../shared/data/', import.meta.url)
const OWN = new URL('../texts/', import.meta.url)

/** Path of a file below the data folder, or undefined. */
export function dataPath(file) {
  const path = fileURLToPath(new URL(file, DATA))
  return existsSync(path) ? path : undefined
}

export const dataLines = (file) =>
  readFileSync(dataPath(file), 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '')

/** Text for perplexity: name, how it was put together, and the text itself. */
export function perplexityTexts() {
  const texts = []
  if (dataPath('ptb/ptb.test.txt'))
    texts.push({
      name: 'ptb.test',
      about: 'ptb.test.txt from its beginning: lines trimmed, joined by "\\n"',
      text: dataLines('ptb/ptb.test.txt')
        .map((line) => line.trim())
        .join('\n'),
    })
  if (dataPath('ag_news/test.csv'))
    texts.push({
      name: 'ag_news.test',
      about: 'test.csv from its beginning: "title. description" of each row, joined by "\\n"',
      text: dataLines('ag_news/test.csv')
        .map(csvFields)
        .map(([, title, description]) => `${title.trim()}. ${description.trim()}`)
        .join('\n'),
    })
  if (texts.length === 0)
    texts.push({
      name: 'moby-dick',
      about: 'Herman Melville, Moby-Dick (1851), chapters 1–3, one paragraph a line, public domain',
      text: readFileSync(new URL('moby-dick.txt', OWN), 'utf8'),
    })
  return texts
}

/** Fields of a CSV line in which every field stands in double quotes, doubled inside. */
export const csvFields = (line) =>
  [...line.matchAll(/"((?:[^"]|"")*)"/g)].map(([, field]) => field.replaceAll('""', '"'))
