/**
 * The task `upscale` of lite on Set5: each picture made half as large (MATLAB's bicubic), enlarged again, and compared with the whole
 * one, beside bicubic interpolation. Luminance of BT.601, two dots of every edge left out.
 *
 *   node bench/upscale.mjs [--home M4FM_HOME] [--data ../shared/data]
 *
 * Writes bench/results/upscale.json and .md.
 */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { peakSignalToNoise, structuralSimilarity } from '../dist/bench/metrics/image-quality.js'
import { m4fmHome } from '../dist/core/files.js'
import { buildFirmware, findRecipe } from '../dist/firmware/index.js'
import { openFirmware } from '../dist/runtime/index.js'
import { cubicResize } from '../dist/train/lite/cubic-resize.js'
import { table } from './lib/markdown.mjs'
import { machineFacts } from './lib/results.mjs'

const SCALE = 2
const RESULTS = fileURLToPath(new URL('results/', import.meta.url))
const { values } = parseArgs({
  options: {
    home: { type: 'string', default: m4fmHome() },
    data: { type: 'string', default: fileURLToPath(new URL('../../shared/data', import.meta.url)) },
  },
})
const folder = join(values.data, 'set5', 'Set5')

const lite = findRecipe('lite')
const modules = { 'IMG-gen': lite.modules['IMG-gen'] }
const { path } = await buildFirmware({ ...lite, name: 'lite-upscale', modules }, { home: values.home })
const firmware = await openFirmware(path)

/** Each colour with MATLAB's bicubic, to whole levels. */
function resized({ data, width, height }, to) {
  const out = new Uint8Array(3 * to.width * to.height)
  for (const c of [0, 1, 2]) {
    const plane = Float32Array.from({ length: width * height }, (_, i) => data[3 * i + c])
    for (const [i, value] of cubicResize({ data: plane, width, height }, to).data.entries())
      out[3 * i + c] = Math.min(255, Math.max(0, Math.round(value)))
  }
  return { data: out, ...to }
}

/** The upper left of a picture. */
function cut({ data, width: stride }, { width, height }) {
  const out = new Uint8Array(3 * width * height)
  for (let y = 0; y < height; y++) out.set(data.subarray(3 * y * stride, 3 * (y * stride + width)), 3 * y * width)
  return { data: out, width, height }
}

/** Y of BT.601, 16 to 235, without the edge. */
function luminance({ data, width, height }) {
  const [w, h] = [width - 2 * SCALE, height - 2 * SCALE]
  const y = Float64Array.from({ length: w * h }, (_, i) => {
    const at = 3 * ((Math.floor(i / w) + SCALE) * width + (i % w) + SCALE)
    return 16 + (65.481 * data[at] + 128.553 * data[at + 1] + 24.966 * data[at + 2]) / 255
  })
  return { data: y, width: w, height: h, channels: 1 }
}

const score = (picture, whole) => {
  const [a, b] = [luminance(picture), luminance(whole)]
  return { psnrDb: peakSignalToNoise(a, b), ssim: structuralSimilarity(a, b, { window: 'gaussian' }) }
}

/** BMP of 24 bits: rows from the bottom, blue first, each padded to 4 bytes. */
function bitmap(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const [start, width, height] = [10, 18, 22].map((at) => view.getInt32(at, true))
  if (bytes.toString('latin1', 0, 2) !== 'BM' || view.getUint16(28, true) !== 24) throw new Error('No BMP of 24 bits.')
  const stride = 4 * Math.ceil((3 * width) / 4)
  const data = Uint8Array.from({ length: 3 * width * height }, (_, i) => {
    const [y, x, c] = [Math.floor(i / 3 / width), Math.floor(i / 3) % width, i % 3]
    return bytes[start + (height - 1 - y) * stride + 3 * x + 2 - c]
  })
  return { data, width, height }
}

const pictures = {}
for (const name of readdirSync(folder)
  .filter((each) => /\.(png|bmp|jpe?g)$/i.test(each))
  .sort()) {
  const full = bitmap(readFileSync(join(folder, name)))
  const half = { width: full.width >> 1, height: full.height >> 1 }
  const size = { width: SCALE * half.width, height: SCALE * half.height }
  const whole = cut(full, size)
  const small = resized(whole, half)
  const { output, report } = await firmware.ask({ task: 'upscale', picture: small })
  pictures[name] = {
    ...size,
    upscale: score(output, whole),
    bicubic: score(resized(small, size), whole),
    ms: report.stages.find((stage) => stage.name === 'upscale').ms,
  }
}
firmware.dispose()

const rows = Object.values(pictures)
if (rows.length === 0) throw new Error(`${folder} holds no pictures.`)
const meanOf = (pick) => rows.reduce((sum, row) => sum + pick(row), 0) / rows.length
const mean = Object.fromEntries(
  ['upscale', 'bicubic'].map((way) => [
    way,
    { psnrDb: meanOf((row) => row[way].psnrDb), ssim: meanOf((row) => row[way].ssim) },
  ]),
)
const cells = (name, { upscale, bicubic }) => [
  name,
  upscale.psnrDb.toFixed(2),
  bicubic.psnrDb.toFixed(2),
  upscale.ssim.toFixed(4),
  bicubic.ssim.toFixed(4),
]
const lines = [...Object.entries(pictures), ['mean', mean]].map(([name, row]) => cells(name, row))
const page = `# Pictures made twice as large

\`node bench/upscale.mjs\`: Set5, made half as large and, for comparison, large again as MATLAB's \`imresize\` does; the task \`upscale\` of lite.
Luminance of BT.601, two dots of every edge left out; SSIM with the Gaussian window.

${table(['', 'upscale, dB', 'bicubic, dB', 'upscale, SSIM', 'bicubic, SSIM'], lines)}
`
console.log(page)
writeFileSync(`${RESULTS}upscale.json`, `${JSON.stringify({ machine: machineFacts(), pictures, mean }, null, 1)}\n`)
writeFileSync(`${RESULTS}upscale.md`, page)
