/**
 * How much memory the conversion of a LLaMA-7B checkpoint takes: a file of the true size and layout (its data a hole on disk, so
 * zeros; the conversion does not care) goes through the same readers, tables, packing and codec as a build, into a counting sink.
 *
 *   node bench/convert-memory.mjs [int4-b32|int8-b32|…]
 */

import { closeSync, mkdtempSync, openSync, rmSync, truncateSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openCheckpoint } from '../dist/checkpoint/index.js'
import { weightsOf } from '../dist/firmware/index.js'
import { encodeModel } from '../dist/graph/index.js'
import { architecture, LLAMA_LAYOUTS, llamaShapes } from '../dist/models/index.js'
import { writeResult } from './lib/results.mjs'

const kind = process.argv[2] ?? 'int4-b32'
const config = { num_attention_heads: 32, max_position_embeddings: 2048, rms_norm_eps: 1e-6 }
const shapes = llamaShapes({
  vocabulary: 32000,
  width: 4096,
  feedForward: 11008,
  layers: 32,
  heads: 32,
  kvHeads: 32,
  headWidth: 128,
})

/** An F16 safetensors file of these shapes whose data is never written. */
function writeHollow(path) {
  const header = {}
  let offset = 0
  let largest = 0
  for (const [ours, theirs] of Object.entries(LLAMA_LAYOUTS.hf.names))
    for (let layer = 0; layer < (ours.includes('{}') ? 32 : 1); layer++) {
      const bytes = 2 * shapes[ours].reduce((a, b) => a * b, 1)
      largest = Math.max(largest, bytes)
      header[theirs.replace('{}', layer)] = {
        dtype: 'F16',
        shape: shapes[ours],
        data_offsets: [offset, offset + bytes],
      }
      offset += bytes
    }
  const json = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  const file = openSync(path, 'w')
  writeSync(file, length)
  writeSync(file, json)
  closeSync(file)
  truncateSync(path, 8 + json.length + offset)
  return { fileBytes: offset, largestTensorBytes: largest }
}

const folder = mkdtempSync(join(tmpdir(), 'm4fm-7b-'))
try {
  const path = join(folder, 'model.safetensors')
  const { fileBytes, largestTensorBytes } = writeHollow(path)
  const baseRssBytes = process.memoryUsage.rss()
  const start = performance.now()
  const checkpoint = openCheckpoint(path)
  const llama = architecture('llama')
  const own = llama.configure({ format: 'safetensors', metadata: { config }, weights: checkpoint.tensors })
  const weights = llama.weights(own, weightsOf(checkpoint))
  const options = { quantisation: { default: kind }, embedding: 'int8-b32', loraSites: ['qkv', 'o'] }
  let writtenBytes = 0
  const write = (chunk) => {
    writtenBytes += chunk.length
  }
  for (const make of Object.values(llama.graphs(own, weights, options)))
    await encodeModel(make(), {
      externalData: { location: 'data', write },
    })
  checkpoint.dispose()
  const peakRssBytes = process.resourceUsage().maxRSS * 1024
  const result = {
    kind,
    fileBytes,
    largestTensorBytes,
    writtenBytes,
    seconds: (performance.now() - start) / 1000,
    baseRssBytes,
    peakRssBytes,
    aboveLargestTensorBytes: peakRssBytes - largestTensorBytes,
    allowedAboveLargestTensorBytes: 1.5e9,
  }
  console.log(result)
  await writeResult('convert-memory', result)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
