/** Traffic signs: an adapter trained by the command line on what lies within the data set's own frames. */

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { m4fmHome } from '../../dist/core/files.js'
import { decodeImage, encodePng } from '../../dist/media/index.js'
import { readHeadAdapter } from '../../dist/runtime/head-adapter.js'
import { answers, classFiles, share, trainByCommand } from './pictures.mjs'

const OPTIONS = ['--dtype', 'float16', '--layers', 'pooled/s7,pooled/s10', '--eval-fraction', '0.1', '--seed', '0']

export const GTSRB_PROTOCOL = {
  data: '20 pictures of each of 43 classes to train on, every 20th of the official test to measure on, all stored at 32 × 32 dots. Cropped to Roi.X1 … Roi.Y2 of the tables that come with the pictures, of both sides.',
  adapter: `m4fm adapter train (a tenth of the training pictures held out for early stopping), options ${OPTIONS.join(' ')}.`,
}

export async function gtsrb({ image, firmware, folder, data, save }) {
  const crops = join(m4fmHome(), 'bench', 'gtsrb')
  const root = join(folder, 'gtsrb')
  const training = join(root, 'Final_Training', 'Images')
  for (const name of readdirSync(training).sort())
    await crop(join(training, name, `GT-${name}.csv`), join(training, name), join(crops, 'train'))
  await crop(join(root, 'Final_Test', 'GT-final_test.csv'), join(root, 'Final_Test', 'Images'), join(crops, 'test'))
  const out = join(m4fmHome(), 'bench', 'adapters', 'gtsrb')
  const { adapter } = await readHeadAdapter(trainByCommand(image, join(crops, 'train'), out, OPTIONS))
  const files = classFiles(join(crops, 'test'))
  const matched = await answers(firmware, files, { task: 'match', adapter })
  data.adapter = share(matched.map(({ matches: [{ label }] }, i) => label === files[i].label))
  save()
}

/** Frames of a table, as PNG files by class. The table's sizes are those of the original pictures. */
async function crop(table, pictures, out) {
  const [head, ...rows] = readFileSync(table, 'utf8').trim().split(/\r?\n/)
  const columns = head.split(';')
  const there = new Set(readdirSync(pictures))
  for (const row of rows) {
    const facts = Object.fromEntries(row.split(';').map((value, i) => [columns[i], value]))
    if (!there.has(facts.Filename)) continue
    const { data, width, height } = await decodeImage(readFileSync(join(pictures, facts.Filename)))
    const [across, down] = [width / facts.Width, height / facts.Height]
    const [x1, x2] = [facts['Roi.X1'], facts['Roi.X2']].map((x) => Math.round(x * across))
    const [y1, y2] = [facts['Roi.Y1'], facts['Roi.Y2']].map((y) => Math.round(y * down))
    const lines = Array.from({ length: y2 - y1 }, (_, y) => {
      const start = ((y1 + y) * width + x1) * 3
      return data.subarray(start, start + (x2 - x1) * 3)
    })
    const path = join(out, facts.ClassId.padStart(5, '0'), `${basename(facts.Filename, '.ppm')}.png`)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(
      path,
      await encodePng({ data: Uint8Array.from(Buffer.concat(lines)), width: x2 - x1, height: y2 - y1 }),
    )
  }
}
