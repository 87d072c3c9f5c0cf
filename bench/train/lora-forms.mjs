/**
 * How the frozen products of a backbone may run while a LoRA is trained on it, as step graphs over the same image. Everything that
 * is made for them lies in a folder of the benchmark's own, `<home>/bench/train/<image>`.
 *
 *   int8    forwards and backwards in int8, a scale for each row; the head's gradient in float32
 *   image   forwards as the device runs it (blocks of 4 and 8 bit), backwards as int8
 *   fp32    the image's own matrices as float32, both ways
 *   source  the float32 matrices that the image was rounded from
 */

import { existsSync } from 'node:fs'
import { open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { atomicWriteFile, m4fmHome, requireFreeBytes, temporaryBeside } from '../../dist/core/files.js'
import { normalSource } from '../../dist/core/random.js'
import { buildFirmware, findRecipe, openImage } from '../../dist/firmware/index.js'
import { encodeModel } from '../../dist/graph/index.js'
import { initialValues, trainedOf } from '../../dist/train/backbone/adapter.js'
import { quantisedRows } from '../../dist/train/backbone/dequantise.js'
import { floatMatrix } from '../../dist/train/backbone/int8-matrices.js'
import { backboneProgram, trainedShapes } from '../../dist/train/backbone/program.js'
import { openWorkspace } from '../../dist/train/backbone/workspace.js'
import { stepGraph } from '../../dist/train/step-graph.js'
import { say, sayProgress } from '../lib/say.mjs'

export const FORMS = Object.freeze(['int8', 'image', 'fp32', 'source'])
export const LORA = Object.freeze({ kind: 'lora', parts: ['q', 'v'], rank: 8, rsLora: false, tokens: 0 })

const HOME = join(m4fmHome(), 'bench')
export const IMAGE = join(m4fmHome(), 'images', 'lite')
const onProgress = ({ task, done, total }) => sayProgress(task, done, total)

/** Image whose backbone is the recipe's checkpoint in float32; built when it is not there (4.2 GB). */
async function sourceImage() {
  const path = join(HOME, 'images', 'lite-fp32')
  if (!existsSync(join(path, 'manifest.json'))) {
    const recipe = findRecipe('lite')
    const backbone = { ...recipe.modules.backbone, quantisations: { fp32: { default: 'fp32' } } }
    say('building lite-fp32')
    await buildFirmware(
      { ...recipe, name: 'lite-fp32', modules: { backbone } },
      { home: m4fmHome(), out: path, onProgress },
    )
  }
  return openImage(path)
}

/** What each form needs on disk, made before anything is measured. */
export async function prepareForms(forms) {
  if (forms.includes('source')) await (await openWorkspace(await sourceImage(), { home: HOME, onProgress })).make()
  if (forms.every((form) => form === 'source')) return
  const workspace = await openWorkspace(await openImage(IMAGE), { home: HOME, forward: 'int8', onProgress })
  await workspace.make()
  if (forms.includes('fp32')) await floatFile(workspace)
}

/**
 * A step graph of the LoRA, written to disk.
 * @param form of `FORMS`
 * @returns `path` of the model file, `shapes` of what is trained, `initial` values, `abi`, how many `nodes`
 */
export async function loraStep(form, kind, { recompute = false, movedB = 0 } = {}) {
  const image = form === 'source' ? await sourceImage() : await openImage(IMAGE)
  const workspace = await openWorkspace(image, { home: HOME, forward: form === 'int8' ? 'int8' : 'image' })
  await workspace.make()
  const { embed, decode } = workspace.graphs
  const graphs = form === 'fp32' ? { embed, decode: inFloat(decode, await floatFile(workspace)) } : { embed, decode }
  const frozen = form === 'fp32' ? undefined : workspace.frozen
  const { abi } = image.manifest
  const trained = trainedOf(abi, LORA)
  const shapes = trainedShapes(abi, trained)
  const program = backboneProgram(graphs, abi, trained, { ...(frozen ? { frozen } : {}), recompute })
  const graph = stepGraph(`bench.${form}.${kind}`, shapes, program, kind)
  const path = join(workspace.folder, `${form}-${kind}${recompute ? '-recompute' : ''}-${process.pid}.onnx`)
  await atomicWriteFile(path, await encodeModel(graph, { inPlace: ({ location }) => location }))
  const initial = initialValues(abi, trained, 1)
  if (movedB) moveB(initial, movedB)
  return { path, shapes, initial, abi, nodes: graph.nodes.length, digest: image.digest }
}

/** Off its beginning at 0, where the gradient of A would be 0. */
function moveB(initial, deviation) {
  const normal = normalSource(2)
  for (const [name, values] of initial)
    if (name.endsWith('/B')) for (let i = 0; i < values.length; i++) values[i] = deviation * normal()
}

const isQuantised = ({ op }) => op === 'MatMulNBits'

/** Node name → where its float32 matrix [N, K] lies in `float.bin`; made once, a gigabyte in some ten seconds. */
async function floatFile({ folder, graphs }) {
  const [path, indexPath] = ['float.bin', 'float.json'].map((name) => join(folder, name))
  if (existsSync(path) && existsSync(indexPath)) return JSON.parse(await readFile(indexPath, 'utf8'))
  const nodes = graphs.decode.nodes.filter(isQuantised)
  const bytes = nodes.reduce((sum, { attributes: { K, N } }) => sum + 4 * Number(K) * Number(N), 0)
  await requireFreeBytes(folder, bytes, 'Making float32 matrices')
  const index = {}
  const temporary = temporaryBeside(path)
  const file = await open(temporary, 'wx')
  let offset = 0
  for (const [i, node] of nodes.entries()) {
    const weight = quantisedRows(graphs.decode, node)
    const matrix = floatMatrix(weight)
    index[node.name] = { rows: weight.rows, columns: weight.columns, offset }
    await file.write(new Uint8Array(matrix.buffer), 0, matrix.byteLength, offset)
    offset += matrix.byteLength
    sayProgress('float32 matrices', i + 1, nodes.length)
  }
  await file.close()
  await rename(temporary, path)
  await atomicWriteFile(indexPath, JSON.stringify(index))
  return index
}

/** The decoder with each quantised product as one in float32. */
function inFloat(graph, index) {
  const initializers = new Map(graph.initializers)
  const values = new Map(graph.values)
  const nodes = graph.nodes.map((node) => {
    if (!isQuantised(node)) return node
    const { rows, columns, offset } = index[node.name]
    const name = `${node.name}/float`
    const dims = [rows, columns]
    const unread = () => {
      throw new Error(`${name} is used where it lies.`)
    }
    const place = { location: 'float.bin', offset }
    initializers.set(name, { dtype: 'float32', dims, byteLength: 4 * rows * columns, bytes: unread, place })
    values.set(name, { name, dtype: 'float32', dims })
    return {
      ...node,
      op: 'FusedMatMul',
      inputs: [node.inputs[0], name],
      attributes: { transB: 1 },
    }
  })
  return { ...graph, nodes, initializers, values }
}
