/** A LoRA on TinyLlama: frozen products in int8, as the device runs them, and in float32; with and without recomputation. */

import { loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import { say } from '../lib/say.mjs'
import { median } from '../lib/stats.mjs'
import { startChild } from './child.mjs'
import { LORA, prepareForms } from './lora-forms.mjs'

const BATCH = Object.freeze({ rows: 8, length: 64 })
const STEPS = 3
/** Name → form and whether layers are computed again on the way back. */
const VARIANTS = Object.freeze({
  int8: { form: 'int8', recompute: false },
  image: { form: 'image', recompute: false },
  fp32: { form: 'fp32', recompute: false },
  'int8 recompute': { form: 'int8', recompute: true },
  'image recompute': { form: 'image', recompute: true },
  'fp32 recompute': { form: 'fp32', recompute: true },
})

export const LORA_PROTOCOL = Object.freeze({
  model: 'TinyLlama 1.1B of image `lite`, LoRA of rank 8 on q and v',
  lora: LORA,
  batch: BATCH,
  tokens: 'seeded random; every token but a row’s first is learned',
  steps: `one after loading that is not timed, then ${STEPS}; each variant in a process of its own, started anew in each round, so that only one is in memory`,
  int8: 'frozen products in int8 both ways, a scale for each row of activations; the head as the image has it, its gradient in float32',
  image: 'forwards as the device runs the image (4 and 8 bit in blocks), backwards in int8',
  fp32: 'the same weights as float32 both ways',
})

const WORKER = fileURLToPath(new URL('./lora-worker.mjs', import.meta.url))

/** @param only names of variants; default: all */
export async function lora({ threads, rounds, data, save, only }) {
  const names = Object.keys(VARIANTS).filter((name) => !only || only.includes(name))
  await prepareForms(names.map((name) => VARIANTS[name].form))
  data.rounds ??= []
  data.loadAverages ??= []
  while (data.rounds.length < rounds) {
    data.loadAverages[data.rounds.length] = loadavg()[0]
    const taken = {}
    for (const name of names) {
      taken[name] = await oneRound(VARIANTS[name], threads)
      say(`lora: round ${data.rounds.length + 1} of ${rounds}: ${name} ${shown(taken[name])}`)
    }
    data.rounds.push(taken)
    save()
  }
}

async function oneRound(variant, threads) {
  const words = JSON.stringify({ ...variant, kind: 'adamw' })
  const child = startChild([process.execPath, WORKER, String(threads), words])
  try {
    const load = await child.ask('load')
    const first = await child.ask('train', { count: 1, ...BATCH })
    const { ms, losses, peakMb } = await child.ask('train', { count: STEPS, ...BATCH })
    const tokensPerSecond = (1000 * BATCH.rows * BATCH.length) / median(ms)
    return { load, firstStepMs: first.ms[0], ms, losses: [...first.losses, ...losses], tokensPerSecond, peakMb }
  } finally {
    await child.stop()
  }
}

const shown = ({ tokensPerSecond, peakMb, losses }) =>
  `${tokensPerSecond.toFixed(0)} tokens/s, peak ${peakMb.toFixed(0)} MB, loss ${losses[0].toFixed(4)}`
