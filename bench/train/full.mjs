/** A small LLaMA trained in full: our trainer, PyTorch and TensorFlow.js from the same weights on the same tokens. */

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { say } from '../lib/say.mjs'
import { minimum } from '../lib/stats.mjs'
import { startChild } from './child.mjs'
import { OPTIMISER, STEP_SHAPES, STORIES, stepMacs, storiesTokens, storiesWeights, WEIGHTS_SEED } from './stories.mjs'

/** Rows and tokens of a step: the common one, and a small one for those who are slow. */
const WHOLE = { rows: 8, length: 256 }
const SMALL = { rows: 2, length: 256 }
/** Losses of so many steps are compared. */
const COMPARED = 10
/** Work of each product that the peak is taken from: the largest three times. */
const PEAK_MACS = 6e10
/** Steps of each contender in a round, after its first. */
const STEPS = 3
const TFJS = ['@tensorflow/tfjs@4.22.0', '@tensorflow/tfjs-backend-wasm@4.22.0']

export const FULL_PROTOCOL = Object.freeze({
  model: 'LLaMA of the shape of stories15M (15.2 M weights, tied head), float32, RANDOM weights',
  weightsSeed: WEIGHTS_SEED,
  config: STORIES,
  optimiser: OPTIMISER,
  batch: WHOLE,
  small: SMALL,
  compared: COMPARED,
  steps: `the first ${COMPARED} steps of each contender are compared and not timed; then ${STEPS} a round, in turn`,
  m4: 'one graph: forward, gradients, clipping and AdamW; parameters and moments bound in place; memory pattern off',
  pytorch: 'eager, foreach AdamW, OpenBLAS with OpenMP where installed, malloc that keeps its memory',
  tfjs: 'wasm backend, the small batch only',
  stepMacs: stepMacs(WHOLE.rows, WHOLE.length),
  peak: `float32 products [rows×inner×columns] of the step, and a square one, alone: after the steps of each round, ${PEAK_MACS / 1e9} G multiply-accumulates each`,
})

/** glibc gives large blocks back at once, and PyTorch asks for them again at every step: keep them. */
const PYTORCH_ENV = (threads) => ({
  OMP_NUM_THREADS: String(threads),
  OPENBLAS_NUM_THREADS: String(threads),
  MALLOC_MMAP_THRESHOLD_: '4294967296',
  MALLOC_TRIM_THRESHOLD_: '17179869184',
  MALLOC_TOP_PAD_: '268435456',
})

const script = (name) => fileURLToPath(new URL(name, import.meta.url))

/** @param peers whether others are measured too */
export async function full({ threads, rounds, data, save, peers }) {
  const folder = mkdtempSync(join(tmpdir(), 'm4-bench-train-'))
  const children = new Map()
  try {
    writeWeights(folder)
    writeTokens(folder, COMPARED + STEPS * rounds)
    children.set('m4', {
      child: startChild([process.execPath, script('full-worker.mjs'), String(threads)]),
      batch: WHOLE,
    })
    const python = peers ? pythonWithTorch() : undefined
    if (python)
      children.set('pytorch', {
        child: startChild([python, script('pytorch_llama.py'), folder, String(threads)], PYTORCH_ENV(threads)),
        batch: WHOLE,
      })
    const tfjs = peers ? installTfjs(folder) : undefined
    if (tfjs) {
      const small = [process.execPath, script('full-worker.mjs'), String(threads)]
      children.set('m4 small', { child: startChild(small), batch: SMALL })
      children.set('tfjs', {
        child: startChild([process.execPath, script('tfjs-worker.mjs'), tfjs, folder, String(threads)]),
        batch: SMALL,
        once: true,
      })
    }
    await measure(children, { rounds, data, save })
  } finally {
    for (const { child } of children.values()) await child.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

async function measure(children, { rounds, data, save }) {
  data.models = {}
  data.losses = {}
  data.rounds = []
  data.peaks = []
  for (const [name, { child, batch, once }] of children) {
    data.models[name] = { ...(await child.ask('load')), batch }
    const { losses, ms } = await child.ask('train', { count: once ? 2 : COMPARED, ...batch })
    data.losses[name] = losses
    data.models[name].firstStepMs = ms[0]
    say(`full: ${name}: ${data.models[name].version}, losses ${losses[0].toFixed(5)} → ${losses.at(-1).toFixed(5)}`)
  }
  data.agreement = Object.fromEntries(
    [
      ['pytorch', 'm4'],
      ['tfjs', 'm4 small'],
    ]
      .filter(([theirs]) => data.losses[theirs])
      .map(([theirs, ours]) => [theirs, largestDifference(data.losses[theirs], data.losses[ours])]),
  )
  save()
  data.loadAverages ??= []
  while (data.rounds.length < rounds) {
    data.loadAverages[data.rounds.length] = loadavg()[0]
    const taken = {}
    for (const [name, { child, batch, once }] of children) {
      if (once && data.rounds.length > 0) continue
      const { ms, peakMb } = await child.ask('train', { count: once ? 1 : STEPS, ...batch })
      const tokens = batch.rows * batch.length
      taken[name] = {
        ms,
        best: minimum(ms),
        tokensPerSecond: (1000 * tokens * ms.length) / ms.reduce((a, b) => a + b),
        peakMb,
      }
    }
    const peaks = {}
    for (const name of ['m4', 'pytorch'])
      peaks[name] = await children.get(name)?.child.ask('peak', { shapes: STEP_SHAPES, macs: PEAK_MACS })
    data.peaks.push(peaks)
    data.rounds.push(taken)
    save()
    const shown = Object.entries(taken).map(([name, { best }]) => `${name} ${best.toFixed(0)} ms`)
    say(`full: round ${data.rounds.length} of ${rounds}: ${shown.join(' · ')}`)
  }
}

/** Over the steps that both took. */
function largestDifference(theirs, ours) {
  const steps = Math.min(theirs.length, ours.length)
  const differences = Array.from({ length: steps }, (_, i) => Math.abs(theirs[i] - ours[i]))
  return { steps, largest: Math.max(...differences) }
}

/** One blob of float32 and what lies where. */
function writeWeights(folder) {
  const tensors = {}
  const chunks = []
  let offset = 0
  for (const [name, tensor] of storiesWeights()) {
    if (name === 'head') continue
    const data = tensor.float32()
    tensors[name] = { offset, count: data.length, dims: tensor.dims }
    chunks.push(Buffer.from(data.buffer, data.byteOffset, data.byteLength))
    offset += data.length
  }
  writeFileSync(join(folder, 'weights.bin'), Buffer.concat(chunks))
  writeFileSync(join(folder, 'weights.json'), JSON.stringify({ config: STORIES, optimiser: OPTIMISER, tensors }))
}

function writeTokens(folder, steps) {
  const { rows, length } = WHOLE
  for (let step = 0; step < steps; step++)
    writeFileSync(
      join(folder, `tokens-${rows}x${length}-${step}.bin`),
      new Uint8Array(Int32Array.from(storiesTokens(step, rows, length).flat()).buffer),
    )
}

/** The first Python that has PyTorch: the one on the path, or the system's (Debian: python3-torch, libopenblas0-openmp). */
function pythonWithTorch() {
  for (const python of ['python3', '/usr/bin/python3'])
    if (spawnSync(python, ['-c', 'import torch, numpy'], { stdio: 'ignore' }).status === 0) return python
  say('full: no Python with PyTorch here: it is left out. Debian: apt install python3-torch libopenblas0-openmp.')
  return undefined
}

/** Into the temporary folder, never into the checkout. @returns the folder that has node_modules */
function installTfjs(folder) {
  const place = join(folder, 'tfjs')
  mkdirSync(place)
  writeFileSync(join(place, 'package.json'), '{"private":true}\n')
  try {
    const words = ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--legacy-peer-deps', ...TFJS]
    execFileSync('npm', words, { cwd: place, stdio: 'pipe', timeout: 180_000, shell: process.platform === 'win32' })
    return place
  } catch {
    say('full: TensorFlow.js cannot be installed (no network?): it is left out.')
    return undefined
  }
}
