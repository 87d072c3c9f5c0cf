/** How far the gradients of each form point the same way as those of float32, on real text. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openImage } from '../../dist/firmware/index.js'
import { readTokenizer } from '../../dist/runtime/module-config.js'
import { say } from '../lib/say.mjs'
import { perplexityTexts } from '../lib/texts.mjs'
import { startChild } from './child.mjs'
import { FORMS, IMAGE, LORA, prepareForms } from './lora-forms.mjs'

const BATCH = Object.freeze({ rows: 8, length: 64 })
const MOVED_B = 0.01
/** What each form is compared with. */
const REFERENCES = Object.freeze(['fp32', 'source'])

export const GRADIENTS_PROTOCOL = Object.freeze({
  model: 'TinyLlama 1.1B of image `lite`, LoRA of rank 8 on q and v, all gradients as one vector',
  lora: LORA,
  batch: BATCH,
  text: perplexityTexts()[0].about,
  adapter: `A as training begins, B normal of deviation ${MOVED_B} (at 0 the gradient of A would be 0)`,
  fp32: 'float32 graph of the image’s own weights: what int8 arithmetic costs',
  source:
    'float32 graph of the checkpoint that the image was rounded from: what the rounding of the image costs besides',
})

const WORKER = fileURLToPath(new URL('./lora-worker.mjs', import.meta.url))

/** @param only forms; default: all. A reference that is left out is not compared with */
export async function gradients({ threads, data, save, only }) {
  const forms = FORMS.filter((form) => !only || only.includes(form))
  await prepareForms(forms)
  const rows = await textRows()
  const folder = mkdtempSync(join(tmpdir(), 'm4-bench-gradients-'))
  const found = new Map()
  try {
    for (const form of forms) {
      const words = JSON.stringify({ form, kind: 'gradients', recompute: false, movedB: MOVED_B })
      const child = startChild([process.execPath, WORKER, String(threads), words])
      try {
        await child.ask('load')
        const path = join(folder, form)
        const { loss, tensors, peakMb } = await child.ask('gradients', { rows, path })
        const bytes = readFileSync(path)
        found.set(form, {
          loss,
          peakMb,
          tensors,
          values: new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4),
        })
        say(`gradients: ${form}: loss ${loss.toFixed(5)}`)
      } finally {
        await child.stop()
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  data.losses = Object.fromEntries([...found].map(([form, { loss }]) => [form, loss]))
  data.cosines = Object.fromEntries(
    REFERENCES.filter((reference) => found.has(reference)).map((reference) => [
      reference,
      Object.fromEntries(
        [...found]
          .filter(([form]) => form !== reference)
          .map(([form, { values, tensors }]) => [form, compared(values, found.get(reference).values, tensors)]),
      ),
    ]),
  )
  save()
  for (const [reference, others] of Object.entries(data.cosines))
    for (const [form, { all, least }] of Object.entries(others))
      say(`gradients: ${form} against ${reference}: cosine ${all.toFixed(4)}, least of a matrix ${least.toFixed(4)}`)
}

/** The first tokens of the text, row after row. */
async function textRows() {
  const { rows, length } = BATCH
  const tokenizer = await readTokenizer(await openImage(IMAGE), 'backbone')
  const ids = tokenizer.encode(perplexityTexts()[0].text.slice(0, 20 * rows * length))
  if (ids.length < rows * length) throw new Error(`The text has ${ids.length} tokens; ${rows * length} are needed.`)
  return Array.from({ length: rows }, (_, r) => Array.from(ids.slice(r * length, (r + 1) * length), Number))
}

/** Cosine of all, of the A and of the B matrices, and the least of any matrix; and the ratio of lengths. */
function compared(values, reference, tensors) {
  const sums = { all: [0, 0, 0], A: [0, 0, 0], B: [0, 0, 0] }
  let [at, least] = [0, 1]
  for (const { name, count } of tensors) {
    let [dot, own, theirs] = [0, 0, 0]
    for (let i = at; i < at + count; i++) {
      dot += values[i] * reference[i]
      own += values[i] * values[i]
      theirs += reference[i] * reference[i]
    }
    for (const sum of [sums.all, sums[name.at(-1)]])
      [dot, own, theirs].forEach((part, i) => {
        sum[i] += part
      })
    least = Math.min(least, dot / Math.sqrt(own * theirs))
    at += count
  }
  const cosine = ([dot, own, theirs]) => dot / Math.sqrt(own * theirs)
  return {
    ...Object.fromEntries(Object.entries(sums).map(([key, sum]) => [key, cosine(sum)])),
    least,
    length: Math.sqrt(sums.all[1] / sums.all[2]),
  }
}
