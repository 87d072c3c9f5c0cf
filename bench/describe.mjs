/**
 * What the backbone of `lite` says of pictures that it gets as soft tokens: the picture's class, asked for in two ways. The encoder
 * cannot name more than its thousand classes; this tells how much of that arrives.
 *
 *   node bench/describe.mjs [--image lite] [--data ../shared/data] [--count 100]
 *
 * Writes bench/results/<date>-describe.json.
 */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openFirmware } from '../dist/runtime/index.js'
import { openResult } from './lib/results.mjs'

const { values } = parseArgs({
  options: {
    image: { type: 'string', default: 'lite' },
    data: { type: 'string', default: join(import.meta.dirname, '..', '..', 'shared', 'data') },
    count: { type: 'string', default: '100' },
  },
})
const folder = join(values.data, 'imagenet_sample')
const files = readdirSync(folder).filter((name) => /\.jpe?g$/i.test(name))
// Spread over the classes, which lie in order.
const every = Math.max(1, Math.floor(files.length / Number(values.count)))
const chosen = files.filter((_, i) => i % every === 0).slice(0, Number(values.count))
const nameOf = (file) =>
  file
    .replace(/^n\d+_/, '')
    .replace(/\.\w+$/, '')
    .replaceAll('_', ' ')
    .toLowerCase()
const QUESTIONS = ['What is this?', 'What is in the picture?']

const protocol = { set: 'imagenet_sample', questions: QUESTIONS, counted: 'the answer holds the name in the file name' }
const { data, save } = openResult('describe', protocol, { fresh: true })
const firmware = await openFirmware(values.image)
data.answers = []
for (const file of chosen) {
  const items = [{ picture: { file: readFileSync(join(folder, file)) } }]
  const own = nameOf(file)
  const { label } = (await firmware.ask({ task: 'match', items })).output.matches[0]
  const said = []
  for (const question of QUESTIONS)
    said.push((await firmware.ask({ task: 'describe', items, question, maxTokens: 16 })).output.text)
  data.answers.push({ own, label, said })
}
firmware.dispose()
const share = (is) => data.answers.filter(is).length / data.answers.length
data.count = data.answers.length
data.named = QUESTIONS.map((_, q) => share(({ own, said }) => said[q].toLowerCase().includes(own)))
/** What the encoder itself names first. */
data.encoder = share(({ own, label }) => label.toLowerCase() === own)
/** Of those that the encoder names first. */
const seen = data.answers.filter(({ own, label }) => label.toLowerCase() === own)
data.namedWhereSeen = QUESTIONS.map(
  (_, q) => seen.filter(({ own, said }) => said[q].toLowerCase().includes(own)).length / seen.length,
)
save(true)
console.log(JSON.stringify({ ...data, answers: data.answers.slice(0, 12) }, null, 1))
process.exit(0)
