/**
 * Any single module in full: the float32 weights of its graph as parameters, one for each weight of the architecture's table, in
 * the table's own layout [out, in]. Graphs store matrices transposed, stacked (q | k | v) or twice (a tied table); here each is
 * made of its parameters again, so that what was trained can be saved by the architecture's own names.
 */

import { elementCount, formatDims } from '../core/dims.js'
import { DTYPES } from '../core/dtypes.js'
import { M4Error, nearestNames } from '../core/errors.js'
import { bytesOf, type HostTensor, hostTensor } from '../core/tensor.js'
import { type Graph, type GraphNode, type GraphTensor, lazyTensor, type Scope, type Value } from '../graph/index.js'
import type { WeightTensor } from '../models/index.js'
import type { DifferentiableOptions } from './autodiff/frozen.js'
import type { Tape } from './autodiff/tape.js'
import type { ParameterShape } from './step-graph.js'

type WeightTable = ReadonlyMap<string, WeightTensor>

export interface TrainedWeight extends ParameterShape {
  /** As they are in the checkpoint. Makes a new array each time. */
  initial(): Float32Array
}

export interface FullTraining {
  /** In the order of the table. */
  readonly parameters: readonly TrainedWeight[]
  /** Names that were selected but are no float32 weight of this graph (folded into constants, quantised, not on the way): they stay. */
  readonly fixed: readonly string[]
  /** What makes `differentiable` of this graph read the parameters. `prefix` as given there. */
  substitutes(
    tape: Tape,
    parameter: (name: string) => Value,
    prefix?: string,
  ): Required<Pick<DifferentiableOptions, 'values' | 'replace'>>
}

export interface TrainableOptions {
  /** Which weights of the table. Default: all. */
  readonly select?: (name: string) => boolean
  /** The outputs (or values inside) that the loss is made of. Default: all outputs. */
  readonly wanted?: readonly string[]
}

/** An initializer and the weights that it is made of, one below the other. */
interface Site {
  readonly tensor: GraphTensor
  readonly names: readonly string[]
  readonly transposed: boolean
}

/**
 * The parameters of `graph`, which was built in float32 from `withOrigins(weights)`.
 * @throws M4Error `NOT_AVAILABLE` when nothing that was selected can be trained, `SHAPE_MISMATCH` or `TENSOR_MISSING` when the
 * graph was built from other weights
 */
export function trainable(graph: Graph, weights: WeightTable, options: TrainableOptions = {}): FullTraining {
  const { select = () => true } = options
  const sites = sitesOf(graph, weights, options.wanted)
  const found = new Set([...sites.values()].flatMap(({ names }) => names))
  // A tied table is trained under its first name, whichever was asked for.
  const first = firstNames(weights)
  const selected = [...new Set([...weights.keys()].filter(select).map((name) => first.get(name)!))]
  const trained = new Set(selected.filter((name) => found.has(name)))
  if (!trained.size)
    throw new M4Error(
      'NOT_AVAILABLE',
      `Graph ${graph.name}: of ${selected.length} selected weights none is a float32 weight of the graph.`,
      { hint: 'Build the graph in fp32, from weights that went through withOrigins.', details: { selected } },
    )
  const used = new Map([...sites].filter(([, { names }]) => names.some((name) => trained.has(name))))
  return {
    parameters: [...trained].map((name) => {
      const tensor = weights.get(name)!
      return { name, dims: tensor.dims, initial: () => tensor.float32().slice() }
    }),
    fixed: selected.filter((name) => !found.has(name)),
    substitutes: (tape, parameter, prefix = '') => {
      const part = (name: string) => (trained.has(name) ? parameter(name) : frozenPart(tape, weights.get(name)!, name))
      const values = new Map([...used].map(([name, site]) => [name, siteValue(tape.g, site, part)]))
      const turned = new Set([...used].flatMap(([name, { transposed }]) => (transposed ? [name] : [])))
      return { values, replace: (node, inputs) => untransposed(tape, turned, node, inputs, prefix) }
    },
  }
}

/** Parameters of several graphs of one module, each name once. */
export function joinedParameters(parts: readonly FullTraining[]): TrainedWeight[] {
  return [...new Map(parts.flatMap(({ parameters }) => parameters.map((each) => [each.name, each] as const))).values()]
}

/** Initializers with an origin that the wanted outputs depend on. */
function sitesOf(graph: Graph, weights: WeightTable, wanted?: readonly string[]): Map<string, Site> {
  const live = new Set(wanted ?? graph.outputs.map(({ name }) => name))
  for (const node of graph.nodes.toReversed())
    if (node.outputs.some((name) => live.has(name))) for (const name of node.inputs) live.add(name)
  const sites = new Map<string, Site>()
  for (const [name, tensor] of graph.initializers) {
    if (!tensor.origin || tensor.dtype !== 'float32' || !live.has(name)) continue
    const { names, transposed } = tensor.origin
    const dims = names.map((each) => {
      const weight = weights.get(each)
      if (weight) return weight.dims
      const hint = `Known: ${nearestNames(each, weights.keys()).join(', ')}. Give the weights that the graph was built from.`
      throw new M4Error('TENSOR_MISSING', `Graph ${graph.name}: ${name} is made of "${each}", which is missing.`, {
        hint,
      })
    })
    const count = dims.reduce((sum, each) => sum + elementCount(each), 0)
    const fits = !transposed || dims.every((each) => each.length === 2 && each[1] === tensor.dims[0])
    if (count !== elementCount(tensor.dims) || !fits)
      throw new M4Error(
        'SHAPE_MISMATCH',
        `Graph ${graph.name}: ${name} is ${formatDims(tensor.dims)}, its weights are ${dims.map(formatDims).join(', ')}.`,
        { hint: 'Give the weights that the graph was built from.', details: { names } },
      )
    sites.set(name, { tensor, names, transposed })
  }
  return sites
}

/** The initializer made of its parts: [out, in] where it is stored transposed, else in its own shape. */
function siteValue(scope: Scope, { tensor, names, transposed }: Site, part: (name: string) => Value): Value {
  const parts = names.map(part)
  const whole = parts.length === 1 ? parts[0]! : scope.op('Concat', parts, { axis: 0 })
  if (transposed || whole.dims.join() === tensor.dims.join()) return whole
  return scope.op('Reshape', [whole, scope.int64(tensor.dims)])
}

/** A part of a stack that is not trained. */
function frozenPart({ g }: Tape, weight: WeightTensor, name: string): Value {
  const full = `fixed/${name}`
  return (
    g.value(full) ??
    g.initializer(
      full,
      lazyTensor('float32', weight.dims, () => bytesOf(weight.float32())),
    )
  )
}

/** Nodes that read a matrix stored transposed: products take it as it is now; anything else, turned. */
function untransposed(
  { g }: Tape,
  turned: ReadonlySet<string>,
  node: GraphNode,
  inputs: readonly (Value | undefined)[],
  prefix: string,
): readonly (Value | undefined)[] | undefined {
  const at = node.inputs.flatMap((name, i) => (turned.has(name) ? [i] : []))
  if (!at.length) return undefined
  const names = node.outputs.map((name) => (name === '' ? undefined : `${prefix}${name}`))
  if (node.op === 'MatMul' && at.join() === '1') return g.addNode('FusedMatMul', inputs, { transB: 1 }, names)
  const given = inputs.map((input, i) => (at.includes(i) ? g.op('Transpose', [input], { perm: [1, 0] }) : input))
  return g.addNode(node.op as 'MatMul', given, node.attributes, names)
}

/** Name → the first name of the same tensor: a tied table stands under two. */
function firstNames(weights: WeightTable): Map<string, string> {
  const first = new Map<unknown, string>()
  const names = new Map<string, string>()
  for (const [name, tensor] of weights) {
    const [origin] = tensor.origin ?? []
    if (!first.has(tensor)) first.set(tensor, name)
    names.set(name, origin ?? first.get(tensor)!)
  }
  return names
}

/** The table with what was trained in it, under all its names: graphs can be built from it. @throws M4Error `SHAPE_MISMATCH` */
export function withTrained(
  weights: WeightTable,
  trained: ReadonlyMap<string, Float32Array>,
): Map<string, WeightTensor> {
  const first = firstNames(weights)
  for (const [name, data] of trained) {
    const old = weights.get(name)
    if (old && first.get(name) === name && elementCount(old.dims) === data.length) continue
    throw new M4Error(
      'SHAPE_MISMATCH',
      `Trained weight "${name}": ${data.length} elements, the module has ${old ? formatDims(old.dims) : 'no such weight'}.`,
      { hint: 'Give the weights that `trainable` was given.' },
    )
  }
  const renewed = new Map([...trained].map(([name, data]) => [name, inMemory(name, weights.get(name)!.dims, data)]))
  return new Map([...weights].map(([name, tensor]) => [name, renewed.get(first.get(name)!) ?? tensor]))
}

function inMemory(name: string, dims: readonly number[], data: Float32Array): WeightTensor {
  const perRow = dims.slice(1).reduce((a, b) => a * b, 1)
  const float32: WeightTensor['float32'] = (rows) => (rows ? data.subarray(rows.from * perRow, rows.to * perRow) : data)
  return { name, dims, float32 }
}

/** Every tensor of the table once, by our names, for `writeSafetensors`. All are held in memory at once. */
export function checkpointTensors(weights: WeightTable): Record<string, HostTensor<'float32'>> {
  const first = firstNames(weights)
  return Object.fromEntries(
    [...weights]
      .filter(([name]) => first.get(name) === name)
      .map(([name, tensor]) => [name, hostTensor('float32', tensor.dims, new DTYPES.float32.array(tensor.float32()))]),
  )
}

/**
 * A checkpoint by our names as the table that it was saved from.
 * @param like the table of the same configuration: what must be there, in which shapes, and what is tied
 * @throws M4Error `TENSOR_MISSING`, `TENSOR_UNUSED`, `SHAPE_MISMATCH`
 */
export function ownCheckpoint(file: WeightTable, like: WeightTable): Map<string, WeightTensor> {
  const hint = 'Was it saved from a module of this configuration?'
  const first = firstNames(like)
  const needed = new Set(first.values())
  const missing = [...needed].filter((name) => !file.has(name))
  if (missing.length)
    throw new M4Error('TENSOR_MISSING', `The checkpoint lacks ${some(missing)}.`, { hint, details: { missing } })
  const unused = [...file.keys()].filter((name) => !needed.has(name))
  if (unused.length)
    throw new M4Error('TENSOR_UNUSED', `The checkpoint has ${some(unused)}, which the module has not.`, {
      hint,
      details: { unused },
    })
  return new Map(
    [...like].map(([name, { dims }]) => {
      const tensor = file.get(first.get(name)!)!
      if (tensor.dims.join() === dims.join()) return [name, tensor]
      throw new M4Error(
        'SHAPE_MISMATCH',
        `${name}: expected ${formatDims(dims)}, the checkpoint has ${formatDims(tensor.dims)}.`,
        { hint },
      )
    }),
  )
}

const some = (names: readonly string[]) =>
  names.length <= 3 ? names.join(', ') : `${names.slice(0, 3).join(', ')} and ${names.length - 3} more`
