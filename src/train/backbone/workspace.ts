/**
 * Where a backbone is trained: a folder with the image's own weight files under second names (no copy), int8 matrices for the
 * gradients made once per image, and step graphs that name both. Nothing in the image is written.
 */

import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { M4Error } from '../../core/errors.js'
import { atomicWriteFile, linkOrCopy, m4fmHome } from '../../core/files.js'
import type { LongOperation } from '../../core/progress.js'
import type { Image } from '../../firmware/image.js'
import { encodeModel, type Graph, type GraphNode, type GraphTensor } from '../../graph/index.js'
import { PROJECT } from '../../runtime/backbone.js'
import type { FrozenMatrix, FrozenWeights } from '../autodiff/frozen.js'
import { dataName, frozenIndex, isQuantised, makeFrozenFiles } from './frozen-file.js'
import type { Direction, FrozenEntry } from './frozen-task.js'
import type { BackboneGraphs } from './program.js'
import { readGraph } from './read-graph.js'

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
  /** From the joint space, where the image has it. */
  readonly project: Graph | undefined
  /** undefined where all weights are float: then the rules of MatMul suffice. */
  readonly frozen: FrozenWeights | undefined
  /** Links the image's weights and makes what is missing: seconds, and 2 bytes a weight, once per image. */
  make(): Promise<void>
  /**
   * Writes a step graph into the folder; its weights are named, not copied, and made first where they are not there yet.
   * @returns path of the model file
   */
  write(name: string, graph: Graph): Promise<string>
}

/**
 * @throws M4Error `NOT_AVAILABLE` for an image without a backbone that can be trained, `DISK_FULL`, `IO`, `ABORTED`
 */
export async function openWorkspace(image: Image, options: WorkspaceOptions = {}): Promise<Workspace> {
  const folder = join(options.home ?? m4fmHome(), 'train', image.digest.slice(0, 16))
  const model = image.graphPath('backbone', 'decode')
  const graphs = { embed: await readGraph(image.graphPath('backbone', 'embed')), decode: await readGraph(model) }
  const project = Object.hasOwn(image.manifest.modules.backbone?.graphs ?? {}, PROJECT)
    ? await readGraph(image.graphPath('backbone', PROJECT))
    : undefined
  const links = new Set<string>()
  for (const graph of [...Object.values(graphs), ...(project ? [project] : [])])
    for (const { place } of graph.initializers.values()) if (place) links.add(place.location)

  const isFloat = !graphs.decode.nodes.some(isQuantised)
  const directions: Direction[] = isFloat ? [] : options.forward === 'int8' ? ['backward', 'forward'] : ['backward']
  const from = (direction: Direction) => {
    const index = frozenIndex(graphs.decode, direction)
    return (node: GraphNode) => (index[node.name] ? matrixOf(index[node.name]!, direction, node) : undefined)
  }
  let made: Promise<void> | undefined
  const makeAll = async () => {
    for (const name of links)
      if (!existsSync(join(folder, name))) await linkOrCopy(join(dirname(model), name), join(folder, name))
    await makeFrozenFiles(folder, model, graphs.decode, directions, options)
  }
  const make = () => {
    made ??= makeAll()
    return made
  }
  const backward = from('backward')
  return {
    folder,
    graphs,
    project,
    frozen: isFloat
      ? undefined
      : {
          backward: (node) => present(backward(node), node),
          ...(directions.includes('forward') ? { forward: from('forward') } : {}),
        },
    make,
    write: async (name, graph) => {
      await make()
      return writeStep(folder, new Set([...links, ...directions.map(dataName)]), name, graph, options)
    },
  }
}

function present(matrix: FrozenMatrix | undefined, { name }: GraphNode): FrozenMatrix {
  if (matrix) return matrix
  throw new M4Error('USAGE', `No matrix was made for the gradient of ${name}.`)
}

function matrixOf(entry: FrozenEntry, direction: Direction, node: GraphNode): FrozenMatrix {
  const { rows, columns, offset, scales } = entry
  const place = (at: number) => ({ location: dataName(direction), offset: at })
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
