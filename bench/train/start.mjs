/** From the start of `m4fm adapter train` to the first loss: where nothing was made for this image yet, and again. */

import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { m4fmHome } from '../../dist/core/files.js'
import { say } from '../lib/say.mjs'
import { IMAGE } from './lora-forms.mjs'

const path = (name) => fileURLToPath(new URL(`../../${name}`, import.meta.url))
const OPTIONS = ['--columns', 'text=0,label=1', '--steps', '20', '--batch', '8', '--max-tokens', '64']

export const START_PROTOCOL = Object.freeze({
  command: `m4fm adapter train --data samples/reviews.tsv --image lite ${OPTIONS.join(' ')}`,
  until: 'the line of step 1, which has its loss; the process is ended there',
  cold: 'an empty home: matrices of training are made first; files of the image in the page cache',
  warm: 'the same command again, those matrices being there',
})

export async function start({ rounds, data, save }) {
  data.rounds ??= []
  data.loadAverages ??= []
  while (data.rounds.length < rounds) {
    data.loadAverages[data.rounds.length] = loadavg()[0]
    // On the disk of the image, so that its files are linked.
    const parent = join(m4fmHome(), 'bench')
    mkdirSync(parent, { recursive: true })
    const home = mkdtempSync(join(parent, 'start-'))
    try {
      const [cold, warm] = [await firstLoss(home, 'cold'), await firstLoss(home, 'warm')]
      data.rounds.push({ cold, warm })
      save()
      say(`start: round ${data.rounds.length} of ${rounds}: cold ${seconds(cold)}, warm ${seconds(warm)}`)
    } finally {
      rmSync(home, { recursive: true, force: true })
    }
  }
}

const seconds = ({ ms }) => `${(ms / 1000).toFixed(1)} s`

async function firstLoss(home, out) {
  const words = ['adapter', 'train', '--data', path('samples/reviews.tsv'), '--image', IMAGE, '--out', join(home, out)]
  const started = performance.now()
  const child = spawn(process.execPath, [path('dist/cli/main.js'), ...words, ...OPTIONS], {
    env: { ...process.env, M4FM_HOME: home },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  const said = []
  try {
    for await (const line of createInterface({ input: child.stderr })) {
      const loss = /^step 1 of .*\bloss ([\d.]+)/.exec(line)?.[1]
      if (loss !== undefined) return { ms: performance.now() - started, loss: Number(loss) }
      said.push(line)
    }
    throw new Error(`m4fm adapter train ended before its first step:\n${said.join('\n')}`)
  } finally {
    child.kill('SIGKILL')
    await ended
  }
}
