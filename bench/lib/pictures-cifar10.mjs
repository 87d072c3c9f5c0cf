/** CIFAR-10: names alone, and an adapter trained by the command line on pictures of the training folder. */

import { join } from 'node:path'
import { m4fmHome } from '../../dist/core/files.js'
import { readHeadAdapter } from '../../dist/runtime/head-adapter.js'
import { answers, classFiles, share, trainByCommand } from './pictures.mjs'

/** Of a class. */
const TESTED = 100
const OPTIONS = ['--dtype', 'float16', '--eval-fraction', '0.1', '--seed', '0']

export const CIFAR10_PROTOCOL = {
  zeroShot: `\`match\` with the ten names as they are, the first ${TESTED} pictures a class of the test folder. Nothing of lite was trained on CIFAR-10.`,
}

export async function cifar10({ firmware, folder, data }) {
  const files = testFiles(folder)
  const labels = [...new Set(files.map(({ label }) => label))]
  const given = await answers(firmware, files, { task: 'match', labels })
  const right = given.map(({ matches: [{ label }] }, i) => label === files[i].label)
  data.zeroShot = share(right)
  if (given[0].matches[0].confident === undefined) return
  const above = right.filter((_, i) => given[i].matches[0].confident)
  data.confident = { answered: above.length / right.length, ...(above.length ? { right: share(above) } : {}) }
}

export const CIFAR10_ADAPTER_PROTOCOL = {
  adapter: `m4fm adapter train on 400 pictures a class of the training folder (a tenth of them held out for early stopping), options ${OPTIONS.join(' ')}; the first ${TESTED} pictures a class of the test folder.`,
}

export async function cifar10Adapter({ firmware, image, folder, data }) {
  const out = join(m4fmHome(), 'bench', 'adapters', 'cifar10')
  const { adapter } = await readHeadAdapter(trainByCommand(image, join(folder, 'cifar10', 'train'), out, OPTIONS))
  const files = testFiles(folder)
  const matched = await answers(firmware, files, { task: 'match', adapter })
  data.adapter = share(matched.map(({ matches: [{ label }] }, i) => label === files[i].label))
}

const testFiles = (folder) => classFiles(join(folder, 'cifar10', 'test'), TESTED)
