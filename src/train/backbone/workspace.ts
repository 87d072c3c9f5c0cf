/**
 * Where a backbone is trained: a folder with the image's own weight files under second names (no copy), int8 matrices for the
 * gradients made once per image, and step graphs that name both. Nothing in the image is written.
 */

import { closeSync, openSync, readSync } from 'node:fs'
import { open, readFile, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { M4Error, throwIfAborted, wrapSystemError } from '../../core/errors.js'
import { atomicWriteFile, linkOrCopy, m4fmHome, requireFreeBytes, temporaryBeside } from '../../core/files.js'
import { type LongOperation, yieldToEventLoop } from '../../core/progress.js'
import { bytesOf } from '../../core/tensor.js'
import type { Image } from '../../firmware/image.js'
import { decodeModel, encodeModel, type Graph, type GraphNode, type GraphTensor } from '../../graph/index.js'
import type { FrozenMatrix, FrozenWeights } from '../autodiff/frozen.js'
import { quantisedRows } from './dequantise.js'
import { backwardMatrix, floatMatrix, forwardMatrix } from './int8-matrices.js'
import type { BackboneGraphs } from './program.js'

/**
 * How frozen products run forwards: as the device runs them, or in int8 with a scale per row and per output, which is faster
 * where the image stores blocks.
 */
export type ForwardKind = 'image' | 'int8'

export interface WorkspaceOptions extends LongOperation {
  readonly home?: string
  readonly forward?: ForwardKind
}

export interface Workspace {
  readonly folder: string
  readonly graphs: BackboneGraphs
  /** undefined where all weights are float: then the rules of MatMul suffice. */
  readonly frozen: FrozenWeights | undefined
  /** Writes a step graph into the folder; its weights are named, not copied. @returns path of the model file */
  write(name: string, graph: Graph): Promise<string>
}

/** The decoder's products with a quantised weight. */
const isQuantised = ({ op }: GraphNode) => op === 'MatMulNBits' || op === 'DynamicQuantizeMatMul'

/**
 * @throws M4Error `NOT_AVAILABLE` for an image without a backbone that can be trained, `DISK_FULL`, `IO`, `ABORTED`
 */
export async function openWorkspace(image: Image, options: WorkspaceOptions = {}): Promise<Workspace> {
  const folder = join(options.home ?? m4fmHome(), 'train', image.digest.slice(0, 16))
  const graphs = { embed: await readGraph(image, 'embed'), decode: await readGraph(image, 'decode') }
  const links = new Set<string>()
  for (const graph of Object.values(graphs))
    for (const { place } of graph.initializers.values()) if (place) links.add(place.location)
  const blobs = dirname(image.graphPath('backbone', 'decode'))
  for (const name of links)
    if (!(await exists(join(folder, name)))) await linkOrCopy(join(blobs, name), join(folder, name))

  const nodes = graphs.decode.nodes.filter(isQuantised)
  const files = new Set(links)
  const open = async (kind: 'backward' | 'forward') => {
    const entries = await frozenFile(folder, kind, graphs.decode, nodes, options)
    files.add(dataName(kind))
    return (node: GraphNode) => matrixOf(entries, kind, node)
  }
  const backward = nodes.length ? await open('backward') : undefined
  const forward = nodes.length && options.forward === 'int8' ? await open('forward') : undefined
  return {
    folder,
    graphs,
    frozen: backward && {
      backward,
      ...(forward ? { forward: (node: GraphNode) => (isHead(node) ? undefined : forward(node)) } : {}),
    },
    write: (name, graph) => writeStep(folder, files, name, graph, options),
  }
}

/** The head's gradient stays in float: int8 logit gradients point elsewhere (cosine 0.5 with the true ones). */
const isHead = ({ name }: GraphNode) => name === 'head' || name.startsWith('head/')

async function readGraph(image: Image, purpose: string): Promise<Graph> {
  const path = image.graphPath('backbone', purpose)
  const folder = dirname(path)
  return decodeModel(await readFile(path), {
    readExternal: (location, offset, length) => {
      const file = openSync(join(folder, basename(location)), 'r')
      try {
        const bytes = Buffer.allocUnsafeSlow(length)
        for (let done = 0; done < length; ) {
          const got = readSync(file, bytes, done, length - done, offset + done)
          if (got === 0) break
          done += got
        }
        return bytes
      } finally {
        closeSync(file)
      }
    },
  })
}

/** Node name → where its matrix lies. */
type FrozenIndex = Readonly<Record<string, FrozenEntry>>

interface FrozenEntry {
  readonly rows: number
  readonly columns: number
  readonly offset: number
  /** Absent: float32 [rows, columns]. */
  readonly scales?: { readonly offset: number; readonly count: number }
}

const dataName = (kind: string) => `${kind}.bin`
const ALIGNMENT = 64

/** Makes the file when it is not there yet. */
async function frozenFile(
  folder: string,
  kind: 'backward' | 'forward',
  graph: Graph,
  nodes: readonly GraphNode[],
  options: LongOperation,
): Promise<FrozenIndex> {
  const indexPath = join(folder, `${kind}.json`)
  if ((await exists(indexPath)) && (await exists(join(folder, dataName(kind)))))
    return JSON.parse(await readFile(indexPath, 'utf8')) as FrozenIndex
  const wanted = kind === 'forward' ? nodes.filter((node) => !isHead(node)) : nodes
  const bytes = wanted.reduce((sum, node) => sum + weightCount(graph, node) * (isHead(node) ? 4 : 1), 0)
  await requireFreeBytes(folder, bytes * 1.05, 'Making the matrices of training')
  const index: Record<string, FrozenEntry> = {}
  const path = join(folder, dataName(kind))
  const temporary = temporaryBeside(path)
  const file = await open(temporary, 'wx')
  let at = 0
  const put = async (data: ArrayBufferView): Promise<number> => {
    const start = Math.ceil(at / ALIGNMENT) * ALIGNMENT
    await file.write(bytesOf(data), 0, data.byteLength, start)
    at = start + data.byteLength
    return start
  }
  try {
    for (const [i, node] of wanted.entries()) {
      throwIfAborted(options.signal)
      const weight = quantisedRows(graph, node)
      const { rows, columns } = weight
      const matrix = floatMatrix(weight)
      if (isHead(node)) {
        index[node.name] = { rows, columns, offset: await put(matrix) }
      } else {
        const { codes, scales } = (kind === 'backward' ? backwardMatrix : forwardMatrix)(matrix, rows, columns)
        const offset = await put(codes)
        const turned = kind === 'forward'
        index[node.name] = {
          rows: turned ? columns : rows,
          columns: turned ? rows : columns,
          offset,
          scales: { offset: await put(scales), count: scales.length },
        }
      }
      options.onProgress?.({ task: `${kind} matrices`, done: i + 1, total: wanted.length, unit: 'items' })
      await yieldToEventLoop()
    }
    await file.sync()
    await file.close()
    await rename(temporary, path)
    await atomicWriteFile(indexPath, JSON.stringify(index))
    return index
  } catch (error) {
    await file.close().catch(() => undefined)
    await rm(temporary, { force: true })
    throw wrapSystemError(error, 'Making the matrices of training')
  }
}

function weightCount(graph: Graph, node: GraphNode): number {
  if (node.op === 'MatMulNBits') return Number(node.attributes.K) * Number(node.attributes.N)
  return graph.initializers.get(node.inputs[1]!)!.byteLength
}

function matrixOf(index: FrozenIndex, kind: string, node: GraphNode): FrozenMatrix {
  const entry = index[node.name]
  if (!entry) throw new M4Error('USAGE', `No ${kind} matrix was made for ${node.name}.`)
  const { rows, columns, offset, scales } = entry
  const place = (at: number) => ({ location: dataName(kind), offset: at })
  const unread = (): Uint8Array => {
    throw new M4Error('USAGE', `The matrix of ${node.name} is used where it lies.`)
  }
  const tensor = (dtype: GraphTensor['dtype'], dims: readonly number[], at: number): GraphTensor => ({
    dtype,
    dims,
    byteLength: dims.reduce((a, b) => a * b, 1) * (dtype === 'int8' ? 1 : 4),
    bytes: unread,
    place: place(at),
  })
  if (!scales) return { matrix: tensor('float32', [rows, columns], offset) }
  return { codes: tensor('int8', [rows, columns], offset), scales: tensor('float32', [scales.count], scales.offset) }
}

async function writeStep(
  folder: string,
  files: ReadonlySet<string>,
  name: string,
  graph: Graph,
  { signal }: LongOperation,
): Promise<string> {
  const path = join(folder, `${name}.onnx`)
  // Tensors too small for a file of their own (constants) and those that lie in no file are written into the model.
  const bytes = await encodeModel(graph, {
    inPlace: ({ location }) => (files.has(location) ? location : undefined),
    ...(signal ? { signal } : {}),
  })
  await atomicWriteFile(path, bytes)
  return path
}

const exists = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  )
