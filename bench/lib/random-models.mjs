/**
 * Full-size models of seeded random weights (`RANDOM` in every table): speed does not depend on what the weights are. Written once
 * below `<home>/bench/encoders`, each in a folder named after its structure, so that a changed graph is a new folder.
 */

import { closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { m4fmHome } from '../../dist/core/files.js'
import { sha256Hex } from '../../dist/core/hash.js'
import { MMS_TTS } from '../../dist/firmware/recipes/shapes.js'
import { countMacs, countWeights, encodeModel, printGraph } from '../../dist/graph/index.js'
import { architecture, IMAGEBIND_VISION, STABLE_DIFFUSION_1 } from '../../dist/models/index.js'
import { say, sayProgress } from './say.mjs'

export const ENCODERS_HOME = join(m4fmHome(), 'bench', 'encoders')
const SEED = 1

const CONFIGS = Object.freeze({
  'imagebind-vision': IMAGEBIND_VISION,
  vits: MMS_TTS,
  'stable-diffusion': STABLE_DIFFUSION_1,
})

/** Sizes of the model as `architecture(name)` takes them. */
export const configOf = (name) => CONFIGS[name]

/**
 * One graph of a random model, on disk.
 * @param plan which matrix takes which form, as a recipe has it
 * @param sizes when given, of the symbols: multiply-accumulates of one run are counted (scores under a mask too)
 * @returns `path` of the model file, `weights` (how many), `bytes` on disk, `macs`
 */
export async function randomModel(name, graphName, plan, sizes) {
  const found = architecture(name)
  const options = { quantisation: plan, embedding: 'fp32', loraSites: [] }
  const graph = found.graphs(CONFIGS[name], found.random(CONFIGS[name], SEED), options)[graphName]()
  const structure = sha256Hex(`${SEED} ${printGraph(graph)}`).slice(0, 12)
  const path = join(ENCODERS_HOME, `${graph.name}-${plan.default}-${structure}`)
  let bytes = 0
  for (const { byteLength } of graph.initializers.values()) bytes += byteLength
  if (!existsSync(path)) await write(graph, path)
  return {
    path: join(path, 'model.onnx'),
    weights: countWeights(graph),
    bytes,
    macs: sizes && countMacs(graph, sizes, { maskedScores: true }),
  }
}

async function write(graph, path) {
  say(`writing ${path} (random weights, once)`)
  const staging = `${path}.tmp`
  rmSync(staging, { recursive: true, force: true })
  mkdirSync(staging, { recursive: true })
  const file = openSync(join(staging, 'weights'), 'w')
  try {
    const model = await encodeModel(graph, {
      externalData: { location: 'weights', write: (chunk) => void writeSync(file, chunk) },
      onProgress: ({ done, total }) => sayProgress(graph.name, done, total),
    })
    writeFileSync(join(staging, 'model.onnx'), model)
  } finally {
    closeSync(file)
  }
  renameSync(staging, path)
}
